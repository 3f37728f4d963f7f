"""What `cc-tuning nights` does: the nights of a recipe, and the acceptance of a drop that was meant."""

from pathlib import Path

from rich.table import Table

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.report.nights.history import accept, nights_of, read_history
from data_contracts.layout import TREND_PAGE, nights_file
from flows.terminal import console, escaped, say

_SHOWN = 60


def show_nights(recipe: Path) -> None:
    """A line per night, the latest first, and where the trend page is.

    Raises:
        ConfigError: the recipe has no night yet.
    """
    settings = load_recipe(recipe)
    history = _history_of(settings.execution.store)
    nights = nights_of(read_history(history), settings.name)
    if not nights:
        raise ConfigError(f"{history} has no night of {settings.name} yet; a deployed nightly writes it")
    table = Table("night", "verdict", "commit", "recipe and code", "run", box=None, pad_edge=False)
    for night in nights[:_SHOWN]:
        table.add_row(night.date, night.verdict, night.commit[:12], night.fingerprint[:12], escaped(night.flow_run))
    console.print(table)
    say(f"Scores: {history}\nTrend:  {settings.execution.output / settings.name / TREND_PAGE}")


def accept_night(recipe: Path, date: str) -> None:
    """Call a night good, so that later ones are held against it.

    Raises:
        ConfigError: there is no such night.
    """
    settings = load_recipe(recipe)
    accept(_history_of(settings.execution.store), settings.name, date)
    say(f"{date} counts as good; later nights are held against it.")


def _history_of(store: Path) -> Path:
    return store.with_name(nights_file(store.name))
