"""Several seeds of a method: one row with their mean, and how far they lie apart, computed here once more by hand."""

import csv
import io
import math
import re
from collections.abc import Callable
from statistics import fmean

import polars as pl
import pytest

from cc_tuning.document.svg import SERIES
from cc_tuning.evaluation.statistics.intervals import Settings, mean_intervals
from cc_tuning.evaluation.statistics.units import average_sample, language_sample, sorted_cells
from cc_tuning.report.config import ReportedRun
from tests.document.page_reader import PageReader
from tests.report.built_report import BuildReport, Built
from tests.report.report_artifacts import World, score_rows
from tests.report.reported_runs import BASE, runs_of, seeds_of
from tests.report.test_report_numbers import numbers

SEEDS = (0, 1, 2)
SMALL = {"benchmarks": ("MKQA", "XLSum"), "languages": ("en", "ar"), "grouped": False, "steps": 6}
WORLD = World(runs=(*runs_of("ml-sft"), *seeds_of(["ml-sft+mt", "cc-tuning"], SEEDS, beside=["ml-sft"])), **SMALL)
"""`cc-tuning.s0` to `.s2` and `ml-sft+mt.s0` to `.s2`; their baseline is one run."""
COLUMNS = {"MKQA": ("MKQA", "accuracy"), "XLSum ROUGE-L": ("XLSum", "rougeL")}


def values(world: World, run: ReportedRun, connection: str, measure: tuple[str, str]) -> dict[tuple[str, str], float]:
    """(language, item) to its score."""
    rows = score_rows(run, world).filter(
        connection=connection, benchmark=measure[0], metric=measure[1]
    )  # fmt: skip
    return {(row["language"], row["item_id"]): row["value"] for row in rows.iter_rows(named=True)}


def average(scores: dict[tuple[str, str], float]) -> float:
    languages = sorted({language for language, _ in scores})
    return fmean(fmean(value for (at, _), value in scores.items() if at == language) for language in languages)


def of_family(
    world: World, family: str, connection: str, measure: tuple[str, str]
) -> list[dict[tuple[str, str], float]]:
    return [values(world, run, connection, measure) for run in world.runs if run.family == family]


def cell(page: PageReader, table: str, row: str, column: str) -> str:
    header, *rows = page.tables[table]
    return next(cells for cells in rows if cells[0] == row)[header.index(column)]


def has_sign_of(mean: float) -> Callable[[float], bool]:
    """Whether a value has the sign of `mean`; equal averages may differ in their last bits."""
    return lambda value: math.copysign(round(value, 9) != 0, value) == math.copysign(round(mean, 9) != 0, mean)


@pytest.fixture(scope="module")
def seeded(build_report: BuildReport) -> Built:
    return build_report(WORLD)


@pytest.fixture(scope="module")
def page(seeded: Built) -> PageReader:
    return PageReader(seeded.text("index.html"))


def test_a_method_is_one_row_whatever_the_number_of_its_seeds(page: PageReader) -> None:
    connected = [f"CC-Tuning\n{at}" for at in ("Transform Matrix", "connection off", "real English prompt")]
    assert [row[0] for row in page.tables["headline"][1:]] == ["ML-SFT", "ML-SFT +MT", *connected]
    assert [row[0] for row in page.tables["mkqa-accuracy"][1:]] == ["ML-SFT", "ML-SFT +MT", *connected]


@pytest.mark.parametrize("column", COLUMNS)
def test_score_is_the_mean_over_seeds_with_the_lowest_and_the_highest(page: PageReader, column: str) -> None:
    by_seed = list(map(average, of_family(WORLD, "cc-tuning", "transform", COLUMNS[column])))
    shown = numbers(cell(page, "headline", "CC-Tuning\nTransform Matrix", column))
    assert shown[0] == pytest.approx(fmean(by_seed), abs=0.0501)
    assert shown[3:5] == pytest.approx([min(by_seed), max(by_seed)], abs=0.0501)
    alone = cell(page, "headline", "ML-SFT", column)
    assert "seeds" not in alone and len(numbers(alone)) == 3


def test_interval_is_that_of_the_items_averaged_over_seeds(seeded: Built) -> None:
    of_seeds = of_family(WORLD, "cc-tuning", "transform", ("XLSum", "rougeL"))
    rows = [
        {"language": language, "item_id": item, "value": fmean(scores[language, item] for scores in of_seeds)}
        for language, item in of_seeds[0]
    ]
    frame, cells = sorted_cells(pl.DataFrame(rows))
    means = frame.select("value").to_numpy()
    samples = {language: language_sample(means, cells, place) for place, language in enumerate(cells.languages)}
    samples["avg"] = average_sample(means, cells)
    scores = list(csv.DictReader(io.StringIO(seeded.text("scores.csv"))))
    found = {row["language"]: row for row in scores if row["run"] == "cc-tuning" and row["connection"] == "transform"
             and row["metric"] == "rougeL"}  # fmt: skip
    assert set(samples) == {"en", "ar", "avg"}
    for language, sample in samples.items():
        low, high = mean_intervals(sample, (0.0, 100.0), Settings(samples=200))
        shown = [float(found[language][name]) for name in ("value", "ci_low", "ci_high")]
        assert shown == pytest.approx([sample.value[0], low[0], high[0]], abs=1e-4)
        assert found[language]["seeds"] == "0 1 2"


@pytest.mark.parametrize("column", COLUMNS)
def test_difference_is_that_of_the_means_and_counts_the_seeds_that_agree(page: PageReader, column: str) -> None:
    (baseline,) = of_family(WORLD, "ml-sft", "off", COLUMNS[column])
    by_seed = [average(scores) - average(baseline) for scores in of_family(WORLD, "cc-tuning", "off", COLUMNS[column])]
    shown = cell(page, "differences", "CC-Tuning\nconnection off − ML-SFT", column)
    assert numbers(shown)[0] == pytest.approx(fmean(by_seed), abs=0.0501)
    agree = sum(map(has_sign_of(fmean(by_seed)), by_seed))
    assert shown.endswith(f"{agree} of 3 seeds agree")


@pytest.mark.parametrize("column", COLUMNS)
def test_connections_of_one_method_are_compared_seed_by_seed(page: PageReader, column: str) -> None:
    sides = (of_family(WORLD, "cc-tuning", at, COLUMNS[column]) for at in ("parallel", "transform"))
    by_seed = [average(real) - average(transformed) for real, transformed in zip(*sides, strict=True)]
    shown = cell(page, "connection", "CC-Tuning\nreal English prompt − Transform Matrix", column)
    assert numbers(shown)[0] == pytest.approx(fmean(by_seed), abs=0.0501)
    assert shown.endswith(f"{sum(map(has_sign_of(fmean(by_seed)), by_seed))} of 3 seeds agree")


def test_baseline_with_the_same_seeds_is_taken_seed_by_seed(build_report: BuildReport) -> None:
    # Both methods have the same scores at the same seed: no difference at any, which two seeds taken with the mean of
    # the other side would not give.
    runs = seeds_of(["ml-sft", "cc-tuning"], (4, 7))
    world = World(runs=runs, draws={run.name: f"scores of {run.seed}" for run in runs}, **SMALL)
    first, second = of_family(world, "ml-sft", "off", COLUMNS["MKQA"])
    assert average(first) != average(second)
    shown = cell(
        PageReader(build_report(world).text("index.html")), "differences", "CC-Tuning\nconnection off − ML-SFT", "MKQA"
    )
    assert shown.startswith("0.0\n[") and shown.endswith("]\n2 of 2 seeds agree")


def test_every_seed_has_its_averages_in_a_folded_table(page: PageReader, seeded: Built) -> None:
    rows = {row[0]: row for row in page.tables["seeds"][1:]}
    assert len(rows) == 3 * (1 + 3)
    for seed, scores in enumerate(of_family(WORLD, "cc-tuning", "parallel", COLUMNS["MKQA"])):
        shown = rows[f"CC-Tuning (seed {seed})\nreal English prompt"]
        assert numbers(shown[1])[0] == pytest.approx(average(scores), abs=0.0501)
    assert "<details><summary>Averages of every seed</summary>" in seeded.text("index.html")


def test_csv_has_the_means_and_every_seed(seeded: Built) -> None:
    rows = list(csv.DictReader(io.StringIO(seeded.text("scores.csv"))))
    averages = {row["run"]: row for row in rows if row["connection"] == "off" and row["metric"] == "rougeL"
                and row["language"] == "avg"}  # fmt: skip
    assert set(averages) == {"ml-sft", "ml-sft+mt", "cc-tuning", *(run.name for run in WORLD.runs)}
    seeds = [float(averages[f"cc-tuning.s{seed}"]["value"]) for seed in SEEDS]
    mean = averages["cc-tuning"]
    assert float(mean["value"]) == pytest.approx(fmean(seeds), abs=1e-4)
    assert (float(mean["seeds_low"]), float(mean["seeds_high"])) == (min(seeds), max(seeds))
    assert mean["baseline"] == "ml-sft" and mean["seeds_agree"] in "0123"
    assert averages["cc-tuning.s1"]["seeds"] == "1" and averages["cc-tuning.s1"]["baseline"] == ""


def test_seeds_of_equal_scores_have_the_numbers_of_one_run(build_report: BuildReport) -> None:
    draws = {f"{family}.s{seed}": family for family in ("ml-sft", "cc-tuning") for seed in SEEDS}
    several = World(runs=seeds_of(["ml-sft", "cc-tuning"], SEEDS), draws=draws, **SMALL)
    once = World(runs=runs_of("ml-sft", "cc-tuning"), **SMALL)
    tables = [PageReader(build_report(world).text("index.html")).tables["connection"] for world in (once, several)]
    agreeing = re.compile(r"\n(\d) of \1 seeds agree$|3 of 3 seeds agree$")
    assert [[agreeing.sub("", text).strip() for text in row] for row in tables[1]] == tables[0]


def test_curves_of_seeds_are_thin_lines_of_one_colour(seeded: Built, page: PageReader) -> None:
    lines = re.findall(r"stroke: (#\w{6}); stroke-width: 0.8", seeded.text("figures/loss.svg"))
    # ML-SFT is one line; of the other two each has three and one in the legend.
    assert [lines.count(colour) for colour in SERIES[:3]] == [0, 4, 4]
    labels = [str(attributes.get("aria-label")) for _, attributes in page.elements]
    assert any("CC-Tuning (3 seeds) on average from" in label for label in labels)
    assert "Lines of one colour are the seeds of one method" in page.text
    assert sorted(path.stem for path in seeded.folder.glob("figures/*.svg")) == [
        "chosen-by-benchmark-cc-tuning", "chosen-cc-tuning", "cosine", "differences", "entropy",
        "gains-points-cc-tuning", "loss", "selection-cc-tuning", "transform-cc-tuning", "within-cc-tuning",
    ]  # fmt: skip


def test_transform_matrices_have_a_row_for_each_seed(page: PageReader) -> None:
    rows = [row[0].split("\n")[0] for row in page.tables["transform-fit"][1:]]
    assert rows == [f"CC-Tuning (seed {seed})" for seed in SEEDS]


def test_stages_name_the_seeds_that_used_them(page: PageReader) -> None:
    used = [row[0].split("\n") for row in page.tables["counts"][1:]]
    assert [who for stage, *who in used if stage == "transform"] == [[f"CC-Tuning (seed {seed})"] for seed in SEEDS]
    shared = [who for stage, *who in used if stage == "materialize"]
    assert shared == [["ML-SFT, CC-Tuning"], ["ML-SFT +MT"]]


def test_pairs_of_a_run_of_its_own_are_named_and_not_mixed_with_the_others(build_report: BuildReport) -> None:
    page = PageReader(build_report(World(own_pairs=("cc-tuning",), **SMALL)).text("index.html"))
    assert "The pairs of CC-Tuning are others and not shown here." in page.text
    used = [row[0].split("\n") for row in page.tables["counts"][1:]]
    assert [who for stage, *who in used if stage == "translate"] == [[], ["CC-Tuning"]]


def test_ids_are_unique_whatever_runs_are_called(build_report: BuildReport) -> None:
    odd = [run.model_copy(update={"family": f"{run.family}_v1.{run.seed}", "name": f"x_{run.name}", "baseline": ""})
           for run in seeds_of(["cc-tuning"], (0, 1))]  # fmt: skip
    odd = [run.model_copy(update={"label": f"{run.label} {run.seed}"}) for run in odd]
    report = build_report(World(runs=[*odd, *WORLD.runs], **SMALL))
    elements = PageReader(report.text("index.html")).elements
    ids = [str(attributes["id"]) for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", key) for key in ids if key.startswith("figure-"))


def test_model_that_was_not_tuned_is_in_the_tables_and_has_no_curve(build_report: BuildReport) -> None:
    report = build_report(World(runs=(BASE, *runs_of("ml-sft", "cc-tuning")), **SMALL))
    page = PageReader(report.text("index.html"))
    assert [row[0] for row in page.tables["headline"][1:3]] == ["Base model", "ML-SFT"]
    assert "Not tuned here, and so without a curve: Base model." in page.text
    assert "Base model" not in report.text("figures/loss.svg")
    assert "seed" not in page.tables["headline"][1][1]


def test_family_of_one_evaluated_seed_is_shown_as_one_run(build_report: BuildReport) -> None:
    world = World(runs=seeds_of(["cc-tuning"], (0, 1)), **SMALL)
    page = PageReader(build_report(world, without=("evaluate/cc-tuning.s1",)).text("index.html"))
    assert "seeds" not in page.tables
    assert "seeds agree" not in page.text
