"""Rows and benchmark items as people bring them, and the answers that models give."""

import json

import pytest

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.scoring import score_response
from data_contracts.layout import PAIRS, SELECTED_ROWS
from data_contracts.parquet import read_parquet
from data_contracts.schemas import AyaRow, ParallelPair
from tests.field_reports.reported import REPORTS, Reported, needs_reports

pytestmark = needs_reports


def test_s03_a_missing_english_text_is_missing_and_never_the_word_nan(reported: Reported) -> None:
    done = reported.run("select", "data.source=english_nan.jsonl")
    assert done.code == 0, done.text
    rows = read_parquet(reported.artifact("select") / SELECTED_ROWS, AyaRow)
    assert rows["inputs_en"].null_count() > 0
    assert "NaN" not in rows["inputs_en"].to_list()


def test_s03_rows_whose_english_is_missing_are_given_to_the_translator(reported: Reported) -> None:
    done = reported.run("translate", "data.source=english_nan.jsonl")
    assert done.code == 2  # this translator is none, and it is asked for now
    assert "translation.model" in done.text and "expected 'm2m_100'" in done.text


def test_s03_rows_that_bring_their_english_need_no_translator(reported: Reported) -> None:
    done = reported.run("translate")
    assert done.code == 0, done.text
    assert set(read_parquet(reported.artifact("translate") / PAIRS, ParallelPair)["origin"]) <= {"given", "english"}


@pytest.mark.parametrize(
    ("folder", "kind"), [("items_answers_objects", "List(Struct"), ("items_answers_text", "String")]
)
def test_s04_s12_answers_that_are_no_list_of_texts_are_named_with_their_type(
    reported: Reported, folder: str, kind: str
) -> None:
    for arguments in (("check",), ("select", "data.decontamination=exact")):
        done = reported.run(*arguments, f"evaluation.items={folder}")
        assert done.code == 2
        assert "mkqa.parquet" in done.text and f"answers is {kind}" in done.text in done.text


def answers() -> list[dict[str, object]]:
    if not REPORTS.is_dir():
        return []
    return [json.loads(line) for line in (REPORTS / "answers_scored.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", answers(), ids=lambda case: case["id"])
def test_s05_s06_answers_count_in_the_measure_that_reads_digits_and_choices(case: dict[str, str]) -> None:
    benchmark = BENCHMARKS[case["benchmark"]]
    scores = score_response(benchmark, case["response"], case["answers"])
    robust = "accuracy_extracted" if benchmark.options else "accuracy_any_digits"
    assert scores[robust] == case["expected"]


def test_s12_a_blank_english_prompt_counts_as_none(reported: Reported) -> None:
    done = reported.run("select", "data.decontamination=exact", "evaluation.items=items_empty_english")
    assert done.code == 0, done.text
    again = reported.run("check", "evaluation.items=items_empty_english")
    assert again.code == 0, again.text


def test_s13_hidden_files_beside_items_are_passed_over(reported: Reported) -> None:
    done = reported.run("select", "data.decontamination=exact", "evaluation.items=items_with_resource_fork")
    assert done.code == 0, done.text


@pytest.mark.parametrize("source", ["string_view.parquet", "dataset_folder", "array.jsonl"])
def test_s14_s15_s23_rows_in_the_forms_that_tools_write_are_read(reported: Reported, source: str) -> None:
    done = reported.run("select", f"data.source={source}")
    assert done.code == 0, done.text
    assert read_parquet(reported.artifact("select") / SELECTED_ROWS, AyaRow).height > 0


def test_s24_the_line_of_a_fault_is_the_one_it_stands_in(reported: Reported) -> None:
    done = reported.run("select", "data.source=backslash.csv")
    assert done.code == 2
    assert "line 7" in done.text
