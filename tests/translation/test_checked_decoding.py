"""What looks wrong is decoded again, the better answer stays, and no segment is decoded in two shards."""

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import ENGLISH, Language, find_language
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.decoding import CheckedDecoder
from cc_tuning.translation.job import DecodingJob, OnReport
from cc_tuning.translation.shard_plan import Shard, plan_shards
from cc_tuning.translation.translating import translate_shards
from cc_tuning.translation.workers import decode_shard

HINDI, SPANISH = find_language("hin"), find_language("spa")


class WordBook:
    """A translator that knows whole segments by heart, once for each attempt, and writes down what it was asked."""

    def __init__(self, first: dict[str, str], second: dict[str, str] | None = None) -> None:
        self._first, self._second = first, second or {}
        self.asked: list[str] = []
        self.asked_again: list[str] = []

    def knows(self, language: Language) -> bool:
        return True

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def translate(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        self.asked += segments
        return [self._first[segment] for segment in segments]

    def translate_again(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        self.asked_again += segments
        return [self._second[segment] for segment in segments]


def test_only_what_looks_wrong_is_decoded_again_and_the_better_answer_stays() -> None:
    first = {
        "नमस्ते": "Hello",
        "घर लाल है": "घर लाल है",
        "वह १९४७ में आया": "He came",
        "पानी": "",
        "बिल्ली": "बिल्ली",
    }
    second = {
        "घर लाल है": "The house is red",
        "वह १९४७ में आया": "He came in 1948",
        "पानी": "",
        "बिल्ली": "кошка",
    }
    book = WordBook(first, second)
    decoder = CheckedDecoder(book, retry=True)
    decoded = decoder.decode([*first, *first], HINDI, ENGLISH)
    assert book.asked == sorted(first)
    assert book.asked_again == sorted(second)
    assert {source: (segment.translation, segment.flags) for source, segment in decoded.items()} == {
        "नमस्ते": ("Hello", ()),
        "घर लाल है": ("The house is red", ()),
        # As bad as the first, which stays.
        "वह १९४७ में आया": ("He came", ("numbers",)),
        "पानी": ("", ("empty",)),
        # Not English either, but at least no copy.
        "बिल्ली": ("кошка", ("not_english",)),
    }
    counts = decoder.counts
    assert (counts.segments, counts.decoded_again, counts.improved) == (5, 4, 2)
    assert dict(counts.flags) == {"numbers": 1, "empty": 1, "not_english": 1}


def test_without_retry_nothing_is_decoded_again() -> None:
    book = WordBook({"घर लाल है": "घर लाल है"})
    decoded = CheckedDecoder(book, retry=False).decode(["घर लाल है"], HINDI, ENGLISH)
    assert decoded["घर लाल है"].flags == ("copied", "not_english")
    assert book.asked_again == []


def translate_with(book: WordBook, planned: list[Shard], folder: Path) -> pl.DataFrame:
    """What the stage does, with a book in the place of a model; the last shard is decoded first."""

    def decode(job: DecodingJob, on_report: OnReport) -> None:
        for shard in reversed(job.shards):
            on_report(decode_shard(shard, book, job))

    job = DecodingJob(translator=Location("a book"), config=TranslationConfig(), execution=Execution(), folder=folder)
    return translate_shards(planned, book, job, decode, no_progress)


def rows_with_a_template(number: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": [f"r{index:02d}" for index in range(number)],
            "flores_code": ["spa_Latn"] * number,
            "inputs": [f"Traduce la frase.\nUno {'a' * (index % 4)}" for index in range(number)],
            "targets": ["Claro que sí."] * number,
        }
    )


def test_segment_of_many_rows_is_decoded_once_and_the_log_counts_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = {"Traduce la frase.": "Translate the sentence.", "Claro que sí.": "Of course."}
    first |= {f"Uno {'a' * times}".strip(): f"One {'b' * times}" for times in range(4)}
    results = []
    with caplog.at_level(logging.INFO):
        for name, shard_rows in (("small", 2), ("large", 100)):
            book = WordBook(first)
            planned = list(plan_shards(rows_with_a_template(12), shard_rows))
            results.append(translate_with(book, planned, tmp_path / name))
            assert sorted(book.asked) == sorted(first)
    assert results[0].equals(results[1])
    assert "translate: 6 segments decoded" in caplog.text
    assert "decoded again 0, improved 0; flagged: none" in caplog.text


def test_a_later_shard_is_no_memory_of_an_earlier_one(tmp_path: Path) -> None:
    """Or a shard that is made anew would leave other segments to decode than it did at first."""
    first = {"Traduce la frase.": "Translate the sentence.", "Claro que sí.": "Of course."}
    first |= {f"Uno {'a' * times}".strip(): f"One {'b' * times}" for times in range(4)}
    planned = list(plan_shards(rows_with_a_template(8), 2))
    translate_with(WordBook(first), planned, tmp_path)
    (tmp_path / "shards" / f"{planned[0].segments_name}.done.json").unlink()
    book = WordBook(first)
    translate_with(book, planned, tmp_path)
    assert sorted(book.asked) == ["Claro que sí.", "Traduce la frase.", "Uno", "Uno a"]
