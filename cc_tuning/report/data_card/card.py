"""The data card of a recipe: one HTML file and the same in Markdown, made from artifacts of the data stages.

Nothing is computed but counts; `materialize` adds tokens, and `distill` what it set aside, where they are given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cc_tuning.document.blocks import Document, count
from cc_tuning.document.writing import write_document
from cc_tuning.report.data_card.collecting import collect_counts
from cc_tuning.report.data_card.counts import ALL, DataCounts
from cc_tuning.report.data_card.examples import draw_examples
from cc_tuning.report.data_card.references import read_references, score_references
from cc_tuning.report.data_card.sections import card_sections
from cc_tuning.runtime.sources import Location
from data_contracts.layout import PAIRS

EXAMPLE_SEED = 0


def write_data_card(
    name: str,
    facts: Sequence[tuple[str, str]],
    inputs: Mapping[str, Location],
    references: Path | None,
    output: Path,
) -> tuple[Path, Path]:
    """Write the card to `output`, and the Markdown beside it; returns both paths.

    Args:
        name: of the recipe.
        facts: names and values for the head of the page; the most important counts follow them.
        inputs: `select` and `translate`, and of `distill` and `materialize/<run>` those that are there.
        references: a file of English references for prompts, to score the translator with.
        output: where the page goes; its suffix becomes `.html` and `.md`.

    Raises:
        ConfigError: `references` cannot be used.
        ArtifactMismatch: a file of an artifact is missing or damaged.
    """
    pairs = inputs["translate"].path / PAIRS
    data = collect_counts(inputs)
    scores = score_references(pairs, read_references(references)) if references else None
    document = Document(
        title=f"Data card: {name}",
        summary=_summary(data),
        facts=[*facts, *_counted(data)],
        sections=card_sections(data, draw_examples(pairs, EXAMPLE_SEED), scores),
    )
    page, markdown = output.with_suffix(".html"), output.with_suffix(".md")
    write_document(document, page, markdown)
    return page, markdown


def _summary(data: DataCounts) -> str:
    languages = sum(bool(data.pairs.get(language)) for language in data.languages)
    return (
        f"{count(data.pairs.get(ALL, 0))} pairs of instructions and answers in {languages} "
        f"language{'s' * (languages != 1)}, each beside its English version; "
        f"{count(data.origins.get((ALL, 'translated'), 0))} of them were translated by machine."
    )


def _counted(data: DataCounts) -> list[tuple[str, str]]:
    return [
        ("chosen rows", count(data.chosen.get(ALL, 0))),
        ("pairs", count(data.pairs.get(ALL, 0))),
        ("set aside", count(sum(part.rows for part in data.set_aside))),
    ]
