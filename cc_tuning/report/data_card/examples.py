"""A few pairs of each language, drawn by a hash of their ids: nobody picks the flattering ones."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cc_tuning.document.blocks import Direction, Example, Examples, Passage, number
from cc_tuning.report.data_card.collecting import with_language
from cc_tuning.report.data_card.counts import ALL
from cc_tuning.text.languages import UnknownLanguage, by_flores_code
from data_contracts.parquet_stream import verified_batches

EXAMPLES_PER_LANGUAGE = 2

_ENGLISH_TAG = "en-Latn"


@dataclass(frozen=True)
class PairExample:
    """One pair, and what its checks said about it."""

    language: str
    """The key of its language in `DataCounts`."""
    pair_id: str
    flores_code: str
    origin: str
    inputs: str
    targets: str
    inputs_en: str
    targets_en: str
    quality: float
    flags: tuple[str, ...]


def draw_examples(path: Path, seed: int, per_language: int = EXAMPLES_PER_LANGUAGE) -> tuple[PairExample, ...]:
    """The pairs of each language whose hash of `seed` and id is lowest, from a file of pairs.

    Raises:
        ArtifactMismatch: the file is missing or damaged.
    """
    lots: dict[str, list[tuple[str, str]]] = {}
    for batch in verified_batches(path, ["pair_id", "language_code"]):
        for pair_id, language in with_language(batch).select("pair_id", "language").iter_rows():
            lots.setdefault(language, []).append((draw_order(seed, pair_id), pair_id))
        lots = {language: sorted(drawn)[:per_language] for language, drawn in lots.items()}
    places = {pair_id: lot for drawn in lots.values() for lot, pair_id in drawn}
    found = []
    for batch in verified_batches(path):
        chosen = with_language(batch.filter(pl.col("pair_id").is_in(list(places))))
        found += [_example(row) for row in chosen.iter_rows(named=True)]
    return tuple(sorted(found, key=lambda example: places[example.pair_id]))


def draw_order(seed: int, *ids: str) -> str:
    """A key to sort by: what has the lowest is drawn first, whatever stands around it."""
    return hashlib.sha256("\0".join((str(seed), *ids)).encode()).hexdigest()


def example_blocks(
    examples: tuple[PairExample, ...], titles: Mapping[str, str], longest: int, is_folded: bool
) -> list[Examples]:
    """One block for each language of `titles` that has examples; texts end after `longest` characters, and say so."""
    blocks = []
    for language, title in titles.items():
        shown = [_side_by_side(example, longest) for example in examples if example.language == language != ALL]
        if shown:
            blocks.append(Examples(title, shown, is_folded))
    return blocks


def _example(row: Mapping[str, Any]) -> PairExample:
    same = ("language", "pair_id", "flores_code", "inputs", "targets", "inputs_en", "targets_en", "quality")
    values: dict[str, Any] = {name: row[name] for name in same}
    return PairExample(origin=str(row["origin"]), flags=tuple(row["flags"]), **values)


def _side_by_side(example: PairExample, longest: int) -> Example:
    tag, direction = _setting_of(example.flores_code)
    passages = []
    for name, text, english in (
        ("prompt", example.inputs, example.inputs_en),
        ("response", example.targets, example.targets_en),
    ):
        passages.append(Passage(name, _beginning(text, longest), tag, direction))
        if example.origin != "english":
            label = f"English {name}, {example.origin}"
            passages.append(Passage(label, _beginning(english, longest), _ENGLISH_TAG, "ltr"))
    judged = [f"quality {number(example.quality)}", *example.flags] if example.origin == "translated" else []
    return Example(example.pair_id, passages, ", ".join(judged))


def _setting_of(flores_code: str) -> tuple[str, Direction]:
    """The tag of a language and which way its script runs; left to the browser where the code is not in the table."""
    try:
        language = by_flores_code(flores_code)
    except UnknownLanguage:
        return "", "auto"
    return language.tag, "rtl" if language.right_to_left else "ltr"


def _beginning(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} […{len(text) - longest:,} more characters]"
