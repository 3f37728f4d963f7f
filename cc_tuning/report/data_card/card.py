"""The data card of a recipe: one HTML file and the same in Markdown, made from artifacts of the data stages.

The report says some of it in the same words. Nothing is computed but counts; `materialize` adds tokens, and `distill`
what it set aside, where they are given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cc_tuning.document.blocks import Block, Document, Section, count
from cc_tuning.document.writing import write_document
from cc_tuning.report.data_card.collecting import collect_counts
from cc_tuning.report.data_card.counts import ALL, DataCounts
from cc_tuning.report.data_card.examples import PairExample, draw_examples, example_blocks
from cc_tuning.report.data_card.references import ReferenceScores, read_references, score_references
from cc_tuning.report.data_card.tables import (
    flag_table,
    language_table,
    language_title,
    length_table,
    score_table,
    set_aside_table,
    task_table,
)
from cc_tuning.runtime.sources import Location
from data_contracts.layout import PAIRS

EXAMPLE_SEED = 0
EXAMPLES_TEXT = (
    "Examples are drawn by a hash of their ids. Control characters are shown by their code; a long text is cut where "
    "it says so; nothing else was changed."
)
_LONGEST = 2_000
"""Characters of an example before it is cut."""
_KINDS = {
    "contaminated": "a benchmark item or a part of one",
    "near_duplicate": "nearly the same as another row",
}


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
    page, markdown = output.with_suffix(".html"), output.with_suffix(".md")
    write_document(card_document(name, facts, inputs, references), page, markdown)
    return page, markdown


def card_document(
    name: str, facts: Sequence[tuple[str, str]], inputs: Mapping[str, Location], references: Path | None = None
) -> Document:
    """The card before it is HTML or Markdown; arguments and errors as in `write_data_card`."""
    pairs = inputs["translate"].path / PAIRS
    data = collect_counts(inputs)
    scores = score_references(pairs, read_references(references)) if references else None
    return Document(
        title=f"Data card: {name}",
        summary=_summary(data),
        facts=[*facts, *_counted(data)],
        sections=card_sections(data, draw_examples(pairs, EXAMPLE_SEED), scores),
    )


def card_sections(data: DataCounts, examples: Sequence[PairExample], scores: ReferenceScores | None) -> list[Section]:
    """The sections of a data card."""
    aside = set_aside_table(data)
    text = "Rows that break a rule are kept in the stage's quarantine.parquet." if aside else "No row was set aside."
    sections = [
        Section("languages", "Languages", [], [language_table(data)]),
        *_task_section(data),
        Section("set-aside", "Set aside", [text, *kinds_set_aside(data)], blocks_of(aside)),
        Section("lengths", "Lengths", [], blocks_of(length_table(data, is_folded=False))),
        *_translation_section(data, scores),
    ]
    blocks = examples_of(data, examples, _LONGEST, is_folded=False)
    return [*sections, *([Section("examples", "Examples", [EXAMPLES_TEXT], blocks)] if blocks else [])]


def kinds_set_aside(data: DataCounts) -> list[str]:
    """A sentence for each kind of rule that a reader asks for first, where rows broke one."""
    sentences = []
    for beginning, what in _KINDS.items():
        parts = [part for part in data.set_aside if part.rule.startswith(beginning)]
        if parts:
            rules = ", ".join(
                f"{rule} {count(sum(p.rows for p in parts if p.rule == rule))}"
                for rule in dict.fromkeys(part.rule for part in parts)
            )
            sentences.append(f"{count(sum(part.rows for part in parts))} rows were set aside as {what} ({rules}).")
    return sentences


def examples_of(data: DataCounts, examples: Sequence[PairExample], longest: int, is_folded: bool) -> Sequence[Block]:
    """Examples of every language, under its name; texts end after `longest` characters."""
    titles = {language: language_title(language) for language in data.languages if language != ALL}
    return example_blocks(tuple(examples), titles, longest, is_folded)


def blocks_of(*blocks: Block | None) -> list[Block]:
    """Those blocks that there are."""
    return [block for block in blocks if block is not None]


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


def _task_section(data: DataCounts) -> list[Section]:
    table = task_table(data)
    return [Section("tasks", "Data settings", [], [table])] if table else []


def _translation_section(data: DataCounts, scores: ReferenceScores | None) -> list[Section]:
    blocks = blocks_of(score_table(scores) if scores else None, flag_table(data))
    paragraphs = []
    if scores:
        paragraphs.append("The translator's English beside references, prompts only. 0 to 100, more is closer.")
    if data.quality:
        paragraphs.append(
            "Quality and flags come from checks that need no reference: they find what looks wrong, not what is wrong."
        )
    return [Section("translation", "Translation", paragraphs, blocks)] if paragraphs else []
