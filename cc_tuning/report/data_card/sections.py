"""What is said about the data: in full on its card, in short in the report."""

from collections.abc import Sequence

from cc_tuning.document.blocks import Block, Section, count
from cc_tuning.report.data_card.counts import ALL, DataFigures
from cc_tuning.report.data_card.examples import PairExample, example_blocks
from cc_tuning.report.data_card.references import ReferenceScores
from cc_tuning.report.data_card.tables import (
    flag_table,
    language_table,
    language_title,
    length_table,
    score_table,
    set_aside_table,
    task_table,
)

_CARD_CHARACTERS, _REPORT_CHARACTERS = 2_000, 500
_DRAWN = (
    "Examples are drawn by a hash of their ids. Control characters are shown by their code; a long text is cut where "
    "it says so; nothing else was changed."
)
_KINDS = {
    "contaminated": "a benchmark item or a part of one",
    "near_duplicate": "nearly the same as another row",
}


def compact_section(figures: DataFigures, examples: Sequence[PairExample]) -> list[Section]:
    """The data in a report: one table, and the rest folded; nothing when no data stage is known."""
    if not figures.languages:
        return []
    tables = [language_table(figures), task_table(figures), length_table(figures, is_folded=True)]
    blocks = _blocks(*tables, *_examples(figures, examples, _REPORT_CHARACTERS, is_folded=True))
    return [Section("data", "Data", [*_kinds_set_aside(figures), _DRAWN], blocks)]


def card_sections(
    figures: DataFigures, examples: Sequence[PairExample], scores: ReferenceScores | None
) -> list[Section]:
    """The sections of a data card."""
    aside = set_aside_table(figures)
    text = "Rows that break a rule are kept in the stage's quarantine.parquet." if aside else "No row was set aside."
    sections = [
        Section("languages", "Languages", [], [language_table(figures)]),
        *_task_section(figures),
        Section("set-aside", "Set aside", [text, *_kinds_set_aside(figures)], _blocks(aside)),
        Section("lengths", "Lengths", [], _blocks(length_table(figures, is_folded=False))),
        *_translation_section(figures, scores),
    ]
    blocks = _examples(figures, examples, _CARD_CHARACTERS, is_folded=False)
    return [*sections, *([Section("examples", "Examples", [_DRAWN], blocks)] if blocks else [])]


def _task_section(figures: DataFigures) -> list[Section]:
    table = task_table(figures)
    return [Section("tasks", "Data settings", [], [table])] if table else []


def _translation_section(figures: DataFigures, scores: ReferenceScores | None) -> list[Section]:
    blocks = _blocks(score_table(scores) if scores else None, flag_table(figures))
    paragraphs = []
    if scores:
        paragraphs.append("The translator's English beside references, prompts only. 0 to 100, more is closer.")
    if figures.quality:
        paragraphs.append(
            "Quality and flags come from checks that need no reference: they find what looks wrong, not what is wrong."
        )
    return [Section("translation", "Translation", paragraphs, blocks)] if paragraphs else []


def _kinds_set_aside(figures: DataFigures) -> list[str]:
    """A sentence for each kind of rule that a reader asks for first, where rows broke one."""
    sentences = []
    for beginning, what in _KINDS.items():
        parts = [part for part in figures.set_aside if part.rule.startswith(beginning)]
        if parts:
            rules = ", ".join(
                f"{rule} {count(sum(p.rows for p in parts if p.rule == rule))}"
                for rule in dict.fromkeys(part.rule for part in parts)
            )
            sentences.append(f"{count(sum(part.rows for part in parts))} rows were set aside as {what} ({rules}).")
    return sentences


def _examples(figures: DataFigures, examples: Sequence[PairExample], longest: int, is_folded: bool) -> Sequence[Block]:
    titles = {language: language_title(language) for language in figures.languages if language != ALL}
    return example_blocks(tuple(examples), titles, longest, is_folded)


def _blocks(*blocks: Block | None) -> list[Block]:
    return [block for block in blocks if block is not None]
