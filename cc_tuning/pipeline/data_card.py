"""The data card of a recipe, from what the store holds already.

No stage is run: `select` and `translate` must be finished, `distill` and `materialize` are used when they are.
"""

from pathlib import Path

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.plan import DataPlan, Plan
from cc_tuning.report.data_card import card
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import find_cached
from data_contracts.store import ArtifactStore


def write_data_card(plan: Plan, store: ArtifactStore, references: Path | None, output: Path) -> tuple[Path, Path]:
    """Write the card to `output`, and the Markdown beside it; returns both paths.

    Raises:
        ConfigError: no run has data, `select` or `translate` is not finished, `references` cannot be used, or `output`
            is a folder.
        ArtifactMismatch: a file of an artifact is missing or damaged.
    """
    recipe, data = plan.recipe, _data_of(plan)
    facts = [
        ("source", recipe.data.source),
        ("translator", recipe.translation.model),
        ("select", data.select.fingerprint[:12]),
        ("translate", data.translate.fingerprint[:12]),
    ]
    inputs = _finished_inputs(plan, data, store)
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; name the HTML file that the card becomes, such as card.html")
    return card.write_data_card(recipe.name, facts, inputs, references, output)


def _data_of(plan: Plan) -> DataPlan:
    """The pairs that the card describes: those of the first run that has some."""
    if not plan.data:
        raise ConfigError(f"the recipe {plan.recipe.name} trains no run, so it has no data to describe")
    return plan.data[0]


def _finished_inputs(plan: Plan, data: DataPlan, store: ArtifactStore) -> dict[str, Location]:
    """The artifacts of the data stages, verified; those of `distill` and `materialize` only when they are there."""
    required = {"select": data.select, "translate": data.translate}
    missing = [name for name, step in required.items() if not find_cached(step, store)]
    if missing:
        raise ConfigError(
            f"the data card of {plan.recipe.name} needs the finished stages select and translate; {store.root} lacks "
            f"{' and '.join(missing)}. Make them with `cc-tuning translate RECIPE`, with the same recipe and --set"
        )
    optional = {f"materialize/{run.name}": run.materialize for run in plan.runs if run.materialize}
    optional |= {"distill": data.distill} if data.distill else {}
    there = {name: step for name, step in optional.items() if find_cached(step, store)}
    return {name: Location(str(store.path(step.ref))) for name, step in (required | there).items()}
