"""The paper's figures beside ours: every printed cell in its place, and none where it does not belong."""

import csv
import re
from pathlib import Path

import pytest

from cc_tuning.report.published import PARALLEL_MINUS_TRANSFORM, TRAINING_RATIO, published, published_model
from tests.document.page_reader import PageReader
from tests.report.built_report import BuildReport
from tests.report.report_artifacts import World
from tests.report.reported_runs import runs_of

TRANSCRIBED = Path(__file__).parents[2].parent / "shared" / "data" / "reference" / "cc_tuning_paper.csv"
LLAMA = {"base": "meta-llama/Llama-3.1-8B"}
SMALL = {"items": 4, "steps": 3, "grouped": False}


def test_published_figures_are_found_by_model_run_metric_and_language() -> None:
    assert published_model("Qwen/Qwen2.5-7B") == "Qwen2.5-7B"
    assert published_model("/models/Meta-Llama-3.1-8B/") == "LLaMA-3.1-8B"
    assert published_model("Qwen/Qwen2.5-7B-Instruct") is None
    found = published("Qwen2.5-7B", "cc-tuning+mt", "XLSum", "rougeL_ascii")
    assert found is not None and (found.value, found.table) == (12.87, 1)
    assert "average to 11.94" in found.note
    cell = published("LLaMA-3.1-8B", "ml-sft", "XNLI", "accuracy", "en")
    assert cell is not None and (cell.value, cell.table) == (12.9, 5)
    delta = published("LLaMA-3.1-8B", "cc-tuning", "XStoryCloze", PARALLEL_MINUS_TRANSFORM)
    assert delta is not None and delta.value == 0.60
    ratio = published("Qwen2.5-7B", "cc-tuning+en", "", TRAINING_RATIO, "")
    assert ratio is not None and ratio.value == 1.12
    assert published("Qwen2.5-7B", "cc-tuning+mt", "XLSum", "rougeL") is None
    assert published("Qwen2.5-7B", "cc-tuning+sdrrl", "MKQA", "accuracy") is None


@pytest.mark.skipif(
    not TRANSCRIBED.is_file(), reason="needs the transcription of the paper's tables beside the project"
)
def test_every_transcribed_score_is_in_the_package_with_its_value() -> None:
    with TRANSCRIBED.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] in ("accuracy", "rouge_l") and row["value"]]
    compared = 0
    for row in rows:
        if row["table"] in "56" and row["language"] == "avg":
            continue  # the averages are taken from table 1, where they are printed without damage
        run = re.sub(r"\s", "", row["method"]).lower()
        metric = {"accuracy": "accuracy", "rouge_l": "rougeL_ascii"}[row["metric"]]
        found = published(row["model"], run, row["benchmark"], metric, row["language"])
        assert found is not None and found.value == pytest.approx(float(row["value"]), abs=0.005), row
        if row["row_check"] == "ok":
            assert not found.note or "below chance" in found.note
        compared += 1
    assert compared == 860


def test_paper_stands_beside_ours_for_its_own_models_only(build_report: BuildReport) -> None:
    world = World(runs=runs_of("ml-sft", "cc-tuning", "cc-mean"), benchmarks=("XNLI", "XLSum"), **SMALL)
    shown = PageReader(build_report(world, model=LLAMA).text("index.html"))
    columns, *rows = shown.tables["paper"]
    assert columns == ["method", "XNLI", "XLSum ROUGE-L ASCII"]
    assert [row[0] for row in rows] == ["ML-SFT\nours", "ML-SFT\npaper", "CC-Tuning\nours", "CC-Tuning\npaper"]
    assert [row[1:] for row in rows[1::2]] == [["31.88", "12.27"], ["38.42", "12.88"]]
    other = build_report(world, model={"base": "meta-llama/Llama-3.1-8B-Instruct"})
    assert "paper" not in PageReader(other.text("index.html")).tables


def test_languages_stand_beside_the_papers_with_their_notes(build_report: BuildReport) -> None:
    world = World(runs=runs_of("ml-sft", "cc-tuning"), benchmarks=("XNLI",), languages=("en", "es", "ar"), **SMALL)
    page = PageReader(build_report(world, model=LLAMA).text("index.html"))
    columns, _, sft, _, cc = page.tables["paper-xnli-accuracy"]
    # the paper has no Spanish in XNLI
    assert columns == ["method", "en English", "ar Standard Arabic", "average"]
    assert (sft[1:], cc[1:]) == (["12.90*", "35.50", "31.88"], ["51.10", "40.50", "38.42"])
    assert "far below chance" in page.text


def test_differences_are_those_of_the_printed_averages(build_report: BuildReport) -> None:
    world = World(runs=runs_of("ml-sft", "cc-tuning"), benchmarks=("XNLI", "MKQA"), **SMALL)
    built = build_report(world, model=LLAMA)
    page = PageReader(built.text("index.html"))
    columns, ours, paper = page.tables["paper-differences"]
    assert columns[1:] == ["XNLI", "MKQA"]
    # Table 1: 38.42 − 31.88 and 15.94 − 14.64
    assert paper[1:] == ["+6.54", "+1.30"]
    rows = dict(zip(columns, ours, strict=True))
    scores = [line.split(",") for line in built.text("scores.csv").splitlines()]
    (own,) = [line for line in scores if line[:5] == ["cc-tuning", "transform", "XNLI", "avg", "accuracy"]]
    difference = float(own[10])
    assert float(rows["XNLI"].split("\n")[0].replace("−", "-")) == pytest.approx(difference, abs=0.051)


def test_runs_that_the_paper_does_not_have_leave_the_part_out(build_report: BuildReport) -> None:
    world = World(runs=runs_of("cc-mean"), benchmarks=("XNLI",), **SMALL)
    page = PageReader(build_report(world, model=LLAMA).text("index.html"))
    assert "paper" not in page.tables and "Beside the paper" not in page.text
