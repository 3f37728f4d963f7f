"""The explorer: items with what every run answered, to search, to filter, and to compare two runs on.

The page holds a sample, drawn as `report/exploring.py` says; every answer is in the parquet file beside the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from cc_tuning.document.blocks import Direction, Explorer, Facet, Passage, Record, RecordAnswer, Section, count, number
from cc_tuning.document.packed import fitted
from cc_tuning.report.answers import Answers
from cc_tuning.report.cells import variant_title
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.exploring import Side, draw_items
from cc_tuning.report.names import CONTROLS, OFF, TRANSFORM, language_label, language_tag, score_text, text_direction
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Variant
from data_contracts.layout import REPORT_PREDICTIONS

_ITEMS = 1_500
"""At most, over all benchmarks and languages."""
_LONGEST_PROMPT = 1_500
_LONGEST_ANSWER = 500
"""Characters of a text before it is cut."""


def explorer_part(evidence: Evidence) -> Section | None:
    """The explorer with as many items as the page has room for; None without items or answers."""
    answers, results = evidence.answers, evidence.results
    variants = [variant for variant in results.variants if variant.connection not in CONTROLS]
    if answers is None or evidence.items is None or not variants:
        return None
    sides = [_side(results, variant) for variant in variants]
    comparisons = _comparisons(results)
    places = max(1, _ITEMS // len(answers.cells))
    records = _records(answers, draw_items(answers, comparisons, places, evidence.config.seed), sides)
    explorer = Explorer(
        key="answers",
        title="Every run's answers, side by side",
        facets=_facets(answers),
        answerers=[variant_title(results, variant) for variant in variants],
        records=records,
        note="",
        compared=_first_compared(comparisons, sides),
    )
    kept = sorted(fitted(explorer).records, key=lambda record: _cell_place(record, answers))
    note = _note(len(kept), sum(len(answers.item_ids(*cell)) for cell in answers.cells), results)
    return Section("explorer", "Answers", [], [replace(explorer, records=kept, note=note)])


def _side(results: Results, variant: Variant) -> Side:
    """The run whose answers stand for a variant: the first of its seeds."""
    return results.family(variant.family).runs[0].name, variant.connection


def _comparisons(results: Results) -> list[tuple[Side, Side]]:
    """Each variant against its baseline, the Transform Matrix first."""
    pairs = []
    for variant in sorted(results.variants, key=lambda at: (at.connection != TRANSFORM, at.connection != OFF)):
        if baseline := results.baseline_of(variant):
            pairs.append((_side(results, variant), _side(results, baseline)))
    return pairs


def _first_compared(comparisons: Sequence[tuple[Side, Side]], sides: Sequence[Side]) -> tuple[int, int] | None:
    known = [(a, b) for a, b in comparisons if a in sides and b in sides]
    return (sides.index(known[0][0]), sides.index(known[0][1])) if known else None


def _facets(answers: Answers) -> list[Facet]:
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in answers.cells))
    languages = sorted({language for _, language in answers.cells}, key=lambda code: (code != "en", code))
    return [
        Facet("benchmark", "Benchmark", [(name, name) for name in benchmarks]),
        Facet("language", "Language", [(code, language_label(code)) for code in languages]),
    ]


def _records(answers: Answers, drawn: Sequence[tuple[str, str, Sequence[str]]], sides: Sequence[Side]) -> list[Record]:
    """The drawn items; one of each benchmark and language, then the next of each: what is cut off is cut from all."""
    by_turn: dict[int, list[Record]] = {}
    for benchmark, language, ids in drawn:
        rows = answers.of(benchmark, language).filter(pl.col("item_id").is_in(ids))
        by_item = {str(frame["item_id"][0]): frame.to_dicts() for frame in rows.partition_by("item_id")}
        for turn, item_id in enumerate(ids):
            by_turn.setdefault(turn, []).append(_record(benchmark, language, by_item[item_id], sides))
    return [record for turn in sorted(by_turn) for record in by_turn[turn]]


def _record(benchmark: str, language: str, rows: Sequence[Mapping[str, Any]], sides: Sequence[Side]) -> Record:
    item, tag, direction = rows[0], language_tag(language), text_direction(language)
    passages = [_passage("prompt", item["prompt"], tag, direction)] if item["prompt"] else []
    if item["prompt_en"] and item["prompt_en"] != item["prompt"]:
        passages.append(_passage("English prompt", item["prompt_en"], "en", "ltr"))
    by_side = {(row["run"], row["connection"]): _answer(row) for row in rows}
    expected = [_cut(text, _LONGEST_ANSWER) for text in item["answers"] or ()]
    answers = [by_side.get(side) for side in sides]
    return Record(str(item["item_id"]), (benchmark, language), passages, expected, tag, direction, answers)


def _passage(label: str, text: str, tag: str, direction: Direction) -> Passage:
    return Passage(label, _cut(text, _LONGEST_PROMPT), tag, direction)


def _answer(row: Mapping[str, Any]) -> RecordAnswer:
    notes = []
    if row["selected_layer"] is not None:
        notes.append(f"layer {row['selected_layer'] + 1}")
    if row["gold_nll"] is not None:
        notes.append(f"gold {number(row['gold_nll'], 2)} nats per token")
    return RecordAnswer(
        _cut(row["response"], _LONGEST_ANSWER), row["score"], score_text(row["metric"], row["score"]), ", ".join(notes)
    )


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… (cut; {count(len(text))} characters)"


def _cell_place(record: Record, answers: Answers) -> int:
    benchmark, language = record.facets
    return answers.cells.index((benchmark, language))


def _note(shown: int, items: int, results: Results) -> str:
    seeds = " Of a method with several seeds the answers of the first are shown." if results.have_seeds else ""
    drawn = (
        "The page's explorer has all items."
        if shown == items
        else f"The page's explorer has {count(shown)} of {count(items)} items: half of them drawn by a hash of their "
        "ids, half in turn from those that a run answers better than its baseline, or worse. Shares among them are no "
        "scores."
    )
    return (
        f"{drawn} Every answer of every item, with its prompt and what was expected, is in {REPORT_PREDICTIONS} beside "
        f"it.{seeds} Control characters are shown by their code, and long texts are cut where it says so."
    )
