"""Rows made of human translations: what is measured by is not trained on, and both languages say the same."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

Benchmark = Callable[[str], ModuleType]

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WORDS = ["uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez"]


@pytest.fixture
def pairs(benchmark: Benchmark) -> ModuleType:
    return benchmark("spanish_pairs")


@pytest.mark.parametrize("count", range(1, 11))
def test_two_halves_are_the_sentence_and_the_first_has_at_most_one_word_more(pairs: ModuleType, count: int) -> None:
    first, rest = pairs.halves(WORDS[:count])
    assert [*first.split(), *rest.split()] == WORDS[:count]
    assert len(first.split()) - len(rest.split()) in (0, 1)


def test_a_sentence_is_followed_by_the_next_of_its_own_document_and_documents_are_held_out_whole(
    pairs: ModuleType,
) -> None:
    held_out = sorted(pairs.HELD_OUT_DOCUMENTS)[0]
    told = [("s-1", "a", 1), ("s-2", "a", 2), ("s-3", held_out, 3), ("s-4", held_out, 4), ("s-5", "b", 5)]
    rows = [
        {"sent_id": name, "doc_id": document, "language": code, "text": f"{word} {number} end"}
        for name, document, number in told
        for code, word in (("en", "sentence"), ("es", "frase"))
    ]
    made = {pair.name: pair for pair in pairs.of_news(pl.DataFrame(rows))}
    assert {name for name in made if name.endswith("-next")} == {"s-1-next", "s-3-next"}
    assert (made["s-1-next"].answer_en, made["s-1-next"].answer) == ("sentence 2 end", "frase 2 end")
    assert {pair.name[:3] for pair in made.values() if pair.held_out} == {"s-3", "s-4"}


def test_the_right_option_is_the_answer_in_both_languages(pairs: ModuleType) -> None:
    item = {
        "item_id": "mmmlu-0003", "language": "es", "answers": ["C"],
        "prompt_en": "Please.\n\nWhich?\n(A) a tree\n(B) a stone\n(C) a river\n(D) a hill\n\nYour answer:",
        "prompt": "Por favor.\n\n¿Cuál?\n(A) un árbol\n(B) una piedra\n(C) un río\n(D) una colina\n\nRespuesta:",
    }  # fmt: skip
    (pair,) = pairs.of_exams(pl.DataFrame([item]))
    assert (pair.text_en, pair.answer_en, pair.text, pair.answer) == ("Which?", "a river", "¿Cuál?", "un río")


def test_nothing_that_is_measured_by_stands_in_a_training_row(pairs: ModuleType) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"needs the public data sets in {SHARED}")
    made = pairs.pairs_of(SHARED)
    rows = [pairs.as_row(pair) for pair in made if not pair.held_out]
    trained = " ".join(row[column] for row in rows for column in ("inputs", "targets", "inputs_en", "targets_en"))
    held_out = [pair for pair in made if pair.held_out]
    assert len(rows) >= 400 and len(held_out) >= pairs.MEASURED
    for pair in held_out:
        assert not any(text in trained for text in (pair.text, pair.answer, pair.text_en, pair.answer_en)), pair.name
    assert all(row["targets"] != row["targets_en"] and row["inputs"] != row["inputs_en"] for row in rows)
