"""Rows that repeat a benchmark item, found by the item's own words.

An item's texts are its prompt, its English prompt, and its answers of at least eight words (`1`, `Paris` or `in 1969`
tell nothing). A row is contaminated

- *exactly*, when its prompt, or its response of at least eight words, is one of these texts;
- *by n-gram*, when one of its texts shares a run of n words with one of them (Brown et al. 2020, appendix C: n = 13).

Both compare normalised texts (`normalisation`), in whatever language they are, and the row's English version too when
the source has one. Versions that the translator makes later are not compared. A run of words of an instruction template
counts like any other, so rows that are rendered with the templates of the benchmarks need `exact`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cc_tuning.selection.normalisation import normalise

EXACT, NGRAM = "contaminated_exact", "contaminated_ngram"
RULES = {
    EXACT: "the prompt or a long response is that of a benchmark item",
    NGRAM: "a run of words is shared with a benchmark item",
}

# Brown et al. 2020 take n-grams of no fewer words than this; shorter answers are anybody's.
_LONG_ANSWER_WORDS = 8
_PROMPTS, _RESPONSES = ("inputs", "inputs_en"), ("targets", "targets_en")
# An odd multiplier keeps all 64 bits of a polynomial hash in play; 2^64 divided by the golden ratio.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Finding:
    """The evidence against one row."""

    rule: str
    detail: str


class ContaminationIndex:
    """The texts of benchmark items, ready to be looked up.

    Runs of words are kept as 64-bit hashes, 12 bytes each; a hit is compared word by word before it counts.
    """

    def __init__(self, items: pl.DataFrame, ngram: int | None) -> None:
        """`items`: BenchmarkItem rows; of equal texts the first one's item is named. `ngram` None: whole texts only."""
        texts = _texts_of_items(items)
        self._names = texts["name"].to_list()
        self._texts: list[str] = texts["text"].to_list()
        self._whole: dict[str, int] = {}
        for number, text in enumerate(self._texts):
            self._whole.setdefault(text, number)
        self._ngram = ngram
        if ngram is not None:
            hashes, owners, _ = _runs(texts["text"], ngram)
            # Stable, so that of equal runs the first owner stands first.
            order = np.argsort(hashes, kind="stable")
            self._hashes, self._owners = hashes[order], owners[order].astype(np.uint32)

    def find(self, normalised: pl.DataFrame) -> dict[int, Finding]:
        """Findings by row number; columns as in a source (`inputs` ... `targets_en`), every text normalised."""
        findings: dict[int, Finding] = {}
        for column in (*_PROMPTS, *_RESPONSES):
            for row, item in self._equal_texts(normalised[column], is_prompt=column in _PROMPTS):
                findings.setdefault(row, Finding(EXACT, f"{self._names[item]}: all of {column}"))
        if self._ngram is not None:
            for column in (*_PROMPTS, *_RESPONSES):
                for row, item, run in self._shared_runs(normalised[column], self._ngram):
                    findings.setdefault(row, Finding(NGRAM, f'{self._names[item]}: in {column}, "{run}"'))
        return findings

    def _equal_texts(self, texts: pl.Series, is_prompt: bool) -> Iterator[tuple[int, int]]:
        for row, text in enumerate(texts.to_list()):
            item = self._whole.get(text) if text else None
            if item is not None and (is_prompt or _word_count(text) >= _LONG_ANSWER_WORDS):
                yield row, item

    def _shared_runs(self, texts: pl.Series, ngram: int) -> Iterator[tuple[int, int, str]]:
        """Row, item and the words, in the order of the rows and of their words."""
        if not self._hashes.size:
            return
        hashes, rows, starts = _runs(texts, ngram)
        places = np.searchsorted(self._hashes, hashes)
        places[places == self._hashes.size] = 0
        for hit in np.flatnonzero(self._hashes[places] == hashes):
            row, start = int(rows[hit]), int(starts[hit])
            run = " ".join(texts[row].split(" ")[start : start + ngram])
            owner = int(self._owners[places[hit]])
            if f" {run} " in f" {self._texts[owner]} ":
                yield row, owner, run


def _texts_of_items(items: pl.DataFrame) -> pl.DataFrame:
    """Columns `name` and `text`, in the items' order; texts without words are left out."""
    name = pl.format("{}/{}/{}", pl.col("benchmark").cast(pl.String), "language", "item_id")
    named = items.with_columns(name=name, number=pl.int_range(pl.len()))
    parts = [named.select("number", "name", text=column) for column in ("prompt", "prompt_en")]
    answers = named.explode("answers").select("number", "name", text="answers")
    texts = pl.concat([part.with_columns(text=normalise(part["text"])) for part in (*parts, answers)])
    is_answer = pl.int_range(pl.len()) >= 2 * items.height
    is_long = pl.col("text").str.count_matches(" ", literal=True) >= _LONG_ANSWER_WORDS - 1
    told = texts.filter(pl.col("text") != "", ~is_answer | is_long)
    return told.sort("number", maintain_order=True).drop("number")


def _runs(texts: pl.Series, ngram: int) -> tuple[Hashes, NDArray[np.intp], NDArray[np.intp]]:
    """For each run of `ngram` words within one text: its hash, the text's number, and the number of its first word.

    hash = sum over k of hash(word k) * multiplier^(ngram - 1 - k), modulo 2^64.
    """
    words = texts.fill_null("").str.split(" ")
    lengths = words.list.len().to_numpy().astype(np.intp)
    of_words: Hashes = words.explode().hash().to_numpy()
    firsts = np.cumsum(lengths) - lengths
    runs = max(of_words.size - ngram + 1, 0)
    hashes = np.zeros(runs, np.uint64)
    for place in range(ngram):
        hashes = hashes * _MULTIPLIER + of_words[place : place + runs]
    text_of_word = np.repeat(np.arange(lengths.size), lengths)
    within = np.flatnonzero(text_of_word[:runs] == text_of_word[ngram - 1 :][:runs])
    owners = text_of_word[within]
    return hashes[within], owners, within - firsts[owners]


def _word_count(text: str) -> int:
    return text.count(" ") + 1
