"""What is known to be wrong with the published data is handled by rule and counted; what is not known stops."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cc_tuning.evaluation.sources import SOURCES
from cc_tuning.evaluation.sources.fetching import fetch_files
from cc_tuning.evaluation.sources.making import MadeItems, make_items
from data_contracts.errors import ContractViolation
from tests.evaluation.published_files import choice, made, write_published
from tests.evaluation.test_item_sources import mmmlu, rows_of

HISTORY = "high_school_world_history"


def xnli_rows(labels: Sequence[int]) -> list[dict[str, Any]]:
    """As many rows as the test split has, with the text of a row telling its label."""
    return [
        {"premise": f"premise {number // 3}", "hypothesis": f"{number} is {label}", "label": label}
        for number, label in enumerate(labels)
    ]


def published_xnli(folder: Path, russian: list[dict[str, Any]]) -> MadeItems:
    """Made under the table of sources as it is: 5,010 rows, rows 2805 and 2806 of Russian exchanged."""
    english = xnli_rows([number % 3 for number in range(5010)])
    write_published(folder, "XNLI", {"en": english, "ru": russian})
    source, config = SOURCES["XNLI"], choice("XNLI", ("ru",), sample="whole")
    return make_items(source, config, fetch_files(source.files_of(("ru",)).values(), folder))


def test_the_two_exchanged_rows_of_russian_xnli_are_put_back(tmp_path: Path) -> None:
    russian = xnli_rows([number % 3 for number in range(5010)])
    russian[2805], russian[2806] = russian[2806], russian[2805]
    result = published_xnli(tmp_path, russian)
    here = rows_of(result, "ru")
    assert len(here) == 5010
    assert result.record.languages["ru"].mended == {"exchanged_rows": 2}
    for number, item in enumerate(here):
        assert item["item_id"] == f"xnli-test-{number:04d}"
        assert item["answers"] == [str(number % 3 + 1)]
        assert f"{number} is {number % 3}" in item["prompt"], "the text belongs to the row that the id names"
        assert f"{number} is {number % 3}" in item["prompt_en"]


@pytest.mark.parametrize("other", [[7], [2805], [2805, 2806, 2807]], ids=str)
def test_other_answers_of_xnli_than_the_known_two_stop_and_are_named(tmp_path: Path, other: list[int]) -> None:
    russian = xnli_rows([(number + (number in other)) % 3 for number in range(5010)])
    with pytest.raises(ContractViolation, match=r"XNLI, ru: \d answers differ from the English ones.*in rows \["):
        published_xnli(tmp_path, russian)


def mmmlu_files(folder: Path, language: str, rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> MadeItems:
    return made(folder, "MMMLU", {"en": [en for en, _ in rows], language: [other for _, other in rows]})


def questions(subject: str, answers: Sequence[int]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [mmmlu(f"{subject} {n}?", [f"{n}{x}" for x in "wxyz"], answer, subject) for n, answer in enumerate(answers)]


@pytest.mark.parametrize("language", ["ko", "zh"])
def test_the_block_in_another_order_is_set_aside_whole(tmp_path: Path, language: str) -> None:
    rows = [*questions("virology", [0, 1]), *questions(HISTORY, [2, 2, 3]), *questions("sociology", [1])]
    block = [other for _, other in rows[2:5]]
    reordered = [*rows[:2], *((en, other) for (en, _), other in zip(rows[2:5], block[::-1], strict=True)), *rows[5:]]
    result = mmmlu_files(tmp_path, language, reordered)
    assert [item["item_id"].rpartition("-")[2] for item in rows_of(result, language)] == [
        "virology", "virology", "sociology",
    ]  # fmt: skip
    assert result.record.languages[language].set_aside == {"block_in_another_order": 3}
    assert result.record.languages["en"].items == 6, "English keeps the block"


def test_the_same_block_in_another_language_stops(tmp_path: Path) -> None:
    rows = questions(HISTORY, [0, 1, 2])
    block = [other for _, other in rows]
    with pytest.raises(ContractViolation, match=r"MMMLU, hi: 2 answers differ"):
        mmmlu_files(tmp_path, "hi", [(en, other) for (en, _), other in zip(rows, block[::-1], strict=True)])


@pytest.mark.parametrize(
    "wrong", ["college_mathematics_test.csv_sw-KE.csv", "college_mathematics_test-sw-KE.csv"], ids=["dot", "dash"]
)
def test_a_subject_with_a_file_name_behind_it_is_cut(tmp_path: Path, wrong: str) -> None:
    rows = questions("college_mathematics", [0, 1])
    rows[1][1]["Subject"] = wrong
    result = mmmlu_files(tmp_path, "sw", rows)
    assert [item["group"] for item in rows_of(result, "sw")] == ["STEM", "STEM"]
    assert result.record.languages["sw"].mended == {"subject_with_file_name": 1}


def test_a_row_of_another_subject_than_in_english_stops(tmp_path: Path) -> None:
    rows = questions("virology", [0, 1])
    rows[1][1]["Subject"] = "sociology"
    with pytest.raises(
        ContractViolation, match=r"MMMLU, hi, row 1: the item is .*sociology, in English it is .*virology"
    ):
        mmmlu_files(tmp_path, "hi", rows)


@pytest.mark.parametrize(("subject", "answers"), [("jurisprudence", "DD"), ("virology", "BB")])
def test_more_answers_of_german_jurisprudence_or_one_of_another_subject_stop(
    tmp_path: Path, subject: str, answers: str
) -> None:
    rows = questions(subject, [1, 2])
    for (_, other), answer in zip(rows, answers, strict=True):
        other["Answer"] = answer
    with pytest.raises(ContractViolation, match=r"MMMLU, de: \d answers differ"):
        mmmlu_files(tmp_path, "de", rows)


def test_the_known_difference_of_german_is_set_aside(tmp_path: Path) -> None:
    rows = [*questions("jurisprudence", [2, 1]), *questions("virology", [0])]
    rows[0][1]["Answer"] = "B"
    result = mmmlu_files(tmp_path, "de", rows)
    assert result.record.languages["de"].set_aside == {"answer_differs_from_english": 1}
    assert len(rows_of(result, "de")) == 2 and len(rows_of(result, "en")) == 3


def test_one_prompt_with_two_options_as_answers_is_set_aside_and_a_mere_repeat_is_kept(tmp_path: Path) -> None:
    rows = questions("virology", [0, 1, 2, 2])
    for _, other in rows[:2]:
        other.update({"Question": "سؤال", "A": "1", "B": "2", "C": "3", "D": "4"})
    rows[3][1].update({key: rows[2][1][key] for key in ("Question", "A", "B", "C", "D")})
    result = mmmlu_files(tmp_path, "ar", rows)
    record = result.record.languages["ar"]
    assert record.set_aside == {"same_prompt_other_answer": 2}
    assert (record.repeated_prompts, record.items) == (1, 2)


def test_an_answer_that_is_no_option_is_set_aside(tmp_path: Path) -> None:
    rows = questions("virology", [0, 1])
    rows[0][1]["Answer"] = "E"
    result = mmmlu_files(tmp_path, "hi", rows)
    assert result.record.languages["hi"].set_aside == {"answer_unknown": 1}
    assert "E" in result.quarantined["row_json"][0], "the row itself is kept"


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("q", {"text": "no type"}),
        ("q", {"type": "entity", "text": "a text", "aliases": "for the list of them"}),
        ("q", {"type": "entity", "text": "a text", "aliases": [5]}),
        (["a list"], {"type": "entity", "text": "a text"}),
        ({"a": "b"}, {"type": "entity", "text": "a text"}),
    ],
    ids=["no type", "aliases", "alias", "list", "object"],
)
def test_a_row_of_another_shape_names_file_and_row(tmp_path: Path, query: Any, answer: dict[str, Any]) -> None:
    rows = [{"example_id": 1, "query": "q", "queries": {"en": query}, "answers": {"en": [answer]}}]
    with pytest.raises(ContractViolation, match=r"MKQA, en, row 0 of apple/ml-mkqa/dataset/mkqa.jsonl.gz"):
        made(tmp_path, "MKQA", {"en": rows})
