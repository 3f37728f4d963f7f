"""The explorer's items and the file of all answers: joined right, drawn fairly, and counted in what the page says."""

import itertools
from typing import Any

import polars as pl
import pytest

from cc_tuning.report.answers import Answers, read_answers
from cc_tuning.report.exploring import draw_items
from cc_tuning.report.parts import explorer
from cc_tuning.report.run_evidence import RunEvidence
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ReportedAnswer
from tests.document.page_reader import PageReader, packed_records
from tests.report.built_report import BuildReport, Built
from tests.report.report_artifacts import World, item_rows, prediction_rows, score_rows

WORLD = World(benchmarks=("MKQA",), languages=("en", "ar"), items=12, likelihoods=True)
OURS, THEIRS = ("ours", "off"), ("theirs", "off")


def scored(items: int, right: dict[str, set[int]]) -> Answers:
    """Answers of two runs to one benchmark, right where `right` says so."""
    rows = [
        {"run": run, "connection": "off", "benchmark": "MKQA", "language": "sw", "item_id": f"i{at:03d}",
         "response": "x", "prompt_tokens": 1, "new_tokens": 1, "stopped": True, "selected_layer": None,
         "metric": "accuracy", "value": 100.0 * (at in places)}
        for run, places in right.items() for at in range(items)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"selected_layer": pl.Int32})
    cell = {("MKQA", "sw"): frame}
    return Answers(cells=(("MKQA", "sw"),), items={}, responses=[cell], scores=cell)


@pytest.fixture(scope="module")
def report(build_report: BuildReport) -> Built:
    return build_report(WORLD)


def test_rare_items_on_which_two_runs_differ_are_drawn_both_ways() -> None:
    answers = scored(200, {"ours": {3, 50, 120}, "theirs": {7, 50, 190}})
    ((_, _, drawn),) = draw_items(answers, [(OURS, THEIRS)], places=10, seed=0)
    assert len(set(drawn)) == 10
    assert {"i003", "i120"} <= set(drawn)  # right in ours alone
    assert {"i007", "i190"} <= set(drawn)  # right in theirs alone


def test_every_other_place_does_not_look_at_the_answers() -> None:
    alike, other = scored(200, {"ours": set(), "theirs": set()}), scored(200, {"ours": set(range(9)), "theirs": set()})
    ((_, _, plain),) = draw_items(alike, [(OURS, THEIRS)], places=20, seed=0)
    ((_, _, mixed),) = draw_items(other, [(OURS, THEIRS)], places=20, seed=0)
    taken = set(mixed[::2])
    assert len(taken & set(plain)) == 10
    ((_, _, elsewhere),) = draw_items(alike, [(OURS, THEIRS)], places=20, seed=1)
    assert set(elsewhere) != set(plain)


def test_no_more_items_are_drawn_than_there_are() -> None:
    ((_, _, drawn),) = draw_items(scored(3, {"ours": {1}, "theirs": set()}), [(OURS, THEIRS)], places=50, seed=0)
    assert sorted(drawn) == ["i000", "i001", "i002"]


def test_file_of_all_answers_has_each_with_its_prompt_gold_and_scores(report: Built) -> None:
    found = read_parquet(report.folder / "predictions.parquet", ReportedAnswer)
    items = {(row["language"], row["item_id"]): row for row in item_rows(WORLD).iter_rows(named=True)}
    scores = {
        tuple(row[name] for name in ("run", "connection", "language", "item_id", "metric")): row["value"]
        for run in WORLD.runs
        for row in score_rows(run, WORLD).iter_rows(named=True)
    }
    expected = [row for run in WORLD.runs for row in prediction_rows(run, WORLD).iter_rows(named=True)]
    assert found.height == len(expected) == 12 * 2 * (1 + 3)
    by_key = {tuple(row[name] for name in ReportedAnswer.primary_key()): row for row in found.iter_rows(named=True)}
    for row in expected:
        own = by_key[tuple(row[name] for name in ReportedAnswer.primary_key())]
        item = items[row["language"], row["item_id"]]
        key = (row["run"], row["connection"], row["language"], row["item_id"])
        assert {name: own[name] for name in ("response", "selected_layer", "prompt", "prompt_en", "answers")} == {
            "response": row["response"], "selected_layer": row["selected_layer"], "prompt": item["prompt"],
            "prompt_en": item["prompt_en"], "answers": item["answers"],
        }  # fmt: skip
        assert (own["metric"], own["score"], own["gold_nll"]) == (
            "accuracy", scores[*key, "accuracy"], scores[*key, "gold_nll"],
        )  # fmt: skip


def test_page_has_every_item_where_there_is_room_with_layer_and_likelihood(report: Built) -> None:
    page = PageReader(report.text("index.html"))
    content = packed_records(page)
    assert len(content["records"]) == 24
    assert "The page's explorer has all items." in page.text and "predictions.parquet" in page.text
    answers = [answer for record in content["records"] for answer in record[6] if answer]
    notes = {content["strings"][answer[2]] for answer in answers}
    assert any(note.startswith("layer 1, gold ") and note.endswith(" nats per token") for note in notes)
    assert {content["strings"][answer[1]] for answer in answers} == {"correct", "wrong"}
    directions = {record[2]: record[3] for record in content["records"]}
    assert directions == {"en-Latn": "ltr", "ar-Arab": "rtl"}


def test_sample_says_how_many_of_how_many_and_takes_from_every_language(
    build_report: BuildReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "_ITEMS", 8)
    page = PageReader(build_report(WORLD).text("index.html"))
    content = packed_records(page)
    assert "has 8 of 24 items: half of them" in page.text
    languages = [record[1][1] for record in content["records"]]
    assert [len(list(of)) for _, of in itertools.groupby(languages)] == [4, 4]


def test_long_texts_are_cut_and_say_so(build_report: BuildReport) -> None:
    world = World(benchmarks=("MKQA",), items=1, languages=("en",), responses={"MKQA": "ab" * 1_000})
    strings: list[Any] = packed_records(PageReader(build_report(world).text("index.html")))["strings"]
    assert f"{'ab' * 250}… (cut; 2,000 characters)" in strings


def test_runs_that_answered_nothing_have_no_explorer() -> None:
    empty = RunEvidence(WORLD.runs[0], predictions=prediction_rows(WORLD.runs[0], WORLD).clear())
    scores = score_rows(WORLD.runs[0], WORLD).cast(dict.fromkeys(("benchmark", "metric"), pl.Categorical))
    assert read_answers([empty, RunEvidence(WORLD.runs[1])], item_rows(WORLD), scores) is None


def test_items_that_were_not_given_leave_out_the_explorer_and_their_columns(build_report: BuildReport) -> None:
    report = build_report(WORLD, without=("items",))
    assert "octet-stream" not in report.text("index.html")
    found = read_parquet(report.folder / "predictions.parquet", ReportedAnswer)
    assert found["prompt"].null_count() == found.height > 0
    assert not (build_report(WORLD, without=("evaluate",)).folder / "predictions.parquet").exists()
