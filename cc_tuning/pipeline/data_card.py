"""The data card of a recipe: one HTML file and the same in Markdown, made from what the store holds already.

Nothing is computed but the figures: `select` and `translate` must be finished, `materialize` adds tokens when it is.
"""

from pathlib import Path

from cc_tuning.document.blocks import Document, count
from cc_tuning.document.markdown import render_markdown
from cc_tuning.document.page import render_page
from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.plan import DataPlan, Plan
from cc_tuning.report.data_card.collecting import collect_figures
from cc_tuning.report.data_card.counts import ALL, DataFigures
from cc_tuning.report.data_card.examples import draw_examples
from cc_tuning.report.data_card.references import read_references, score_references
from cc_tuning.report.data_card.sections import card_sections
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Step, find_cached
from data_contracts.files import written_atomically
from data_contracts.layout import PAIRS
from data_contracts.store import ArtifactStore

EXAMPLE_SEED = 0


def write_data_card(plan: Plan, store: ArtifactStore, references: Path | None, output: Path) -> tuple[Path, Path]:
    """Write the card to `output`, and the Markdown beside it; returns both paths.

    Raises:
        ConfigError: `select` or `translate` is not finished, or `references` cannot be used.
        ArtifactMismatch: a file of an artifact is missing or damaged.
    """
    inputs = _finished(plan, store)
    pairs = inputs["translate"].path / PAIRS
    figures = collect_figures(inputs)
    scores = score_references(pairs, read_references(references)) if references else None
    document = Document(
        title=f"Data card: {plan.recipe.name}",
        summary=_summary(figures),
        facts=_facts(plan, figures),
        sections=card_sections(figures, draw_examples(pairs, EXAMPLE_SEED), scores),
    )
    page, markdown = output.with_suffix(".html"), output.with_suffix(".md")
    for path, text in ((page, render_page(document)), (markdown, render_markdown(document))):
        with written_atomically(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return page, markdown


def _finished(plan: Plan, store: ArtifactStore) -> dict[str, Location]:
    """The artifacts of the data stages, verified; those of `distill` and `materialize` only when they are there."""
    data = _data_of(plan)
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
    return {name: _location(step, store) for name, step in (required | there).items()}


def _data_of(plan: Plan) -> DataPlan:
    if not plan.data:
        raise ConfigError(f"the recipe {plan.recipe.name} trains no run, so it has no data to describe")
    return plan.data[0]


def _location(step: Step, store: ArtifactStore) -> Location:
    return Location(str(store.path(step.ref)))


def _summary(figures: DataFigures) -> str:
    languages = sum(bool(figures.pairs.get(language)) for language in figures.languages)
    return (
        f"{count(figures.pairs.get(ALL, 0))} pairs of instructions and answers in {languages} "
        f"language{'s' * (languages != 1)}, each beside its English version; "
        f"{count(figures.origins.get((ALL, 'translated'), 0))} of them were translated by machine."
    )


def _facts(plan: Plan, figures: DataFigures) -> list[tuple[str, str]]:
    return [
        ("source", plan.recipe.data.source),
        ("translator", plan.recipe.translation.model),
        ("chosen rows", count(figures.chosen.get(ALL, 0))),
        ("pairs", count(figures.pairs.get(ALL, 0))),
        ("set aside", count(sum(part.rows for part in figures.set_aside))),
        ("select", _data_of(plan).select.fingerprint[:12]),
        ("translate", _data_of(plan).translate.fingerprint[:12]),
    ]
