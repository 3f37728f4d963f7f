"""The scores of all nights in one small table, which outlives the stores that they were computed in.

A night is a day's run of a recipe from nothing. Its rows are the headline score of each run, connection, benchmark and
language, as its report has them, with the likelihood of the gold answer beside it. A night that is run again replaces
its rows.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.report.names import is_headline
from cc_tuning.report.scores_csv import FIELDS
from data_contracts.errors import ArtifactMismatch
from data_contracts.layout import REPORT_SCORES
from data_contracts.locks import held_lock
from data_contracts.nights import NightScore
from data_contracts.parquet import read_parquet, write_parquet

GOLD_NLL = "gold_nll"
Verdict = Literal["good", "dropped"]
_KEY = ["run", "connection", "benchmark", "language"]
_NUMBERS = ("value", "ci_low", "ci_high")


@dataclass(frozen=True)
class Night:
    """What a night's rows have in common."""

    recipe: str
    """The recipe's name."""
    date: str
    """ISO 8601: the day in UTC for which it was started."""
    flow_run: str
    """Prefect's id of the run."""
    commit: str
    fingerprint: str
    """Of the report: recipe, code versions and sources together."""
    verdict: Verdict


def read_history(path: Path) -> pl.DataFrame:
    """The rows of all nights, none where there is no file yet.

    Raises:
        ArtifactMismatch, ContractViolation: the file is damaged, or another program's.
    """
    return read_parquet(path, NightScore) if path.is_file() else NightScore.create_empty()


def record(path: Path, night: Night, report: Path) -> pl.DataFrame:
    """Put a night's scores, read from its report's folder, into the table at `path`; returns the whole table.

    Raises:
        ArtifactMismatch: the report's scores or the table are damaged.
        ConfigError: the report has no headline score.
    """
    rows = scores_of(report).with_columns(
        recipe=pl.lit(night.recipe), night=pl.lit(night.date), flow_run=pl.lit(night.flow_run),
        commit=pl.lit(night.commit), fingerprint=pl.lit(night.fingerprint), verdict=pl.lit(night.verdict),
    )  # fmt: skip
    added = NightScore.cast(rows.select(NightScore.column_names()))
    with _changing(path):
        earlier = read_history(path).filter((pl.col("recipe") != night.recipe) | (pl.col("night") != night.date))
        return _write(path, pl.concat([earlier, added]))


def accept(path: Path, recipe: str, date: str) -> None:
    """Call a night good whose scores dropped on purpose, so that the next ones are held against it.

    Raises:
        ConfigError: the table has no such night.
    """
    with _changing(path):
        history = read_history(path)
        of_recipe = pl.col("recipe") == recipe
        chosen = of_recipe & (pl.col("night") == date)
        if history.filter(chosen).is_empty():
            nights = ", ".join(history.filter(of_recipe)["night"].unique().sort().to_list()[-5:]) or "none"
            raise ConfigError(f"{path} has no night {date} of {recipe}; its last ones are {nights}")
        verdict = pl.when(chosen).then(pl.lit("good")).otherwise(pl.col("verdict").cast(pl.String))
        _write(path, NightScore.cast(history.with_columns(verdict=verdict)))


def nights_of(history: pl.DataFrame, recipe: str) -> list[Night]:
    """The nights of a recipe, the latest one first."""
    columns = ["recipe", "night", "flow_run", "commit", "fingerprint", "verdict"]
    rows = history.filter(pl.col("recipe") == recipe).with_columns(pl.col("verdict").cast(pl.String))
    return [Night(*row) for row in rows.select(columns).unique().sort("night", descending=True).rows()]


def scores_of(report: Path) -> pl.DataFrame:
    """The headline scores of a report's folder, a row for each run, connection, benchmark and language.

    Raises:
        ArtifactMismatch: the file is missing or is no table of scores.
        ConfigError: there is no headline score.
    """
    path = report / REPORT_SCORES
    try:
        read = pl.read_csv(path, infer_schema=False)
        scores = read.select(
            *_KEY, "metric", pl.col("items").cast(pl.Int64), *(pl.col(name).cast(pl.Float64) for name in _NUMBERS)
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactMismatch(f"{path} is no table with {', '.join(FIELDS[:9])}: {error}") from error
    likelihoods = scores.filter(pl.col("metric") == GOLD_NLL).select(*_KEY, gold_nll="value")
    shown = [(benchmark, metric) for benchmark, metric in scores.select("benchmark", "metric").unique().rows()
             if is_headline(benchmark, metric)]  # fmt: skip
    headline = pl.DataFrame(shown, schema={"benchmark": pl.String, "metric": pl.String}, orient="row")
    found = scores.join(headline, on=["benchmark", "metric"], how="semi").join(likelihoods, on=_KEY, how="left")
    if found.is_empty():
        raise ConfigError(f"{path} has no headline score of any benchmark, so the night has nothing to be judged by")
    return found


def _changing(path: Path) -> AbstractContextManager[None]:
    """A context in which no other process changes the table."""
    return held_lock(path.with_name(f".{path.name}.lock"), "the table of nights")


def _write(path: Path, rows: pl.DataFrame) -> pl.DataFrame:
    ordered = rows.sort(NightScore.primary_key())
    write_parquet(ordered, path, NightScore)
    return ordered
