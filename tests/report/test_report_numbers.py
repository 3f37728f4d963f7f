"""Every number on the page is the one that the item scores give, computed here once more in plain Python."""

import csv
import io
import re
from statistics import fmean

import polars as pl
import pytest

from tests.document.page_reader import PageReader
from tests.report.built_report import BuildReport, Built
from tests.report.report_artifacts import World, score_rows
from tests.report.reported_runs import runs_of

COLUMNS = {"XNLI": ("XNLI", "accuracy"), "MKQA": ("MKQA", "accuracy")} | {
    "XLSum ROUGE-L": ("XLSum", "rougeL"),
    "XLSum ROUGE-L ASCII": ("XLSum", "rougeL_ascii"),
}
ROWS = {
    "ML-SFT": ("ml-sft", "off"),
    "CC-Tuning\nTransform Matrix": ("cc-tuning", "transform"),
    "CC-Tuning\nconnection off": ("cc-tuning", "off"),
    "CC-Tuning\nreal English prompt": ("cc-tuning", "parallel"),
}


def items_of(world: World, group: str | None = None) -> dict[tuple[str, ...], dict[str, float]]:
    """(run, connection, benchmark, metric, language) to item to value."""
    table: dict[tuple[str, ...], dict[str, float]] = {}
    for run in world.runs:
        for row in score_rows(run, world).iter_rows(named=True):
            if group is None or row["group"] == group:
                key = tuple(row[name] for name in ("run", "connection", "benchmark", "metric", "language"))
                table.setdefault(key, {})[row["item_id"]] = row["value"]
    return table


def average(world: World, variant: tuple[str, str], measure: tuple[str, str], group: str | None = None) -> float:
    items = items_of(world, group)
    return fmean(fmean(items[*variant, *measure, language].values()) for language in world.languages)


def numbers(cell: str) -> list[float]:
    return [float(text.replace("−", "-")) for text in re.findall(r"[−+]?\d+\.\d+", cell)]


@pytest.fixture(scope="module")
def page(built: Built) -> PageReader:
    return PageReader(built.text("index.html"))


def cells(page: PageReader, key: str) -> dict[tuple[str, str], str]:
    header, *rows = page.tables[key]
    return {(row[0], column): cell for row in rows for column, cell in zip(header[1:], row[1:], strict=True)}


def test_main_table_holds_the_average_over_languages(page: PageReader, built: Built) -> None:
    found = cells(page, "headline") | cells(page, "metric-rougeL_ascii")
    headline = set(COLUMNS) - {"XLSum ROUGE-L ASCII"}
    assert set(found) == {(row, column) for row in ROWS for column in (*headline, "XLSum")}
    for (row, column), cell in found.items():
        expected = average(built.world, ROWS[row], COLUMNS.get(column, ("XLSum", "rougeL_ascii")))
        value, low, high = numbers(cell)
        assert value == pytest.approx(expected, abs=0.0501)
        assert low <= value <= high


def test_difference_table_holds_the_differences_of_the_averages(page: PageReader, built: Built) -> None:
    found = cells(page, "differences")
    assert len(found) == (len(ROWS) - 1) * 3  # the baseline has no difference
    for (row, column), cell in found.items():
        variant = next(variant for name, variant in ROWS.items() if f"{name} − ML-SFT" == row)
        expected = average(built.world, variant, COLUMNS[column])
        expected -= average(built.world, ("ml-sft", "off"), COLUMNS[column])
        value, low, high = numbers(cell)
        assert value == pytest.approx(expected, abs=0.0501)
        assert low <= value <= high
        assert not ("▲" in cell and low <= 0) and not ("▼" in cell and high >= 0)


def test_language_tables_hold_the_mean_over_items(page: PageReader, built: Built) -> None:
    items = items_of(built.world)
    for benchmark, metric in [of for name, of in COLUMNS.items() if not name.endswith("ASCII")]:
        for (row, column), cell in cells(page, f"{benchmark}-{metric}".lower()).items():
            language = column.split()[0]
            expected = (
                average(built.world, ROWS[row], (benchmark, metric))
                if language == "average"
                else fmean(items[*ROWS[row], benchmark, metric, language].values())
            )
            assert numbers(cell)[0] == pytest.approx(expected, abs=0.0501)


def test_group_tables_hold_the_items_of_their_group_only(page: PageReader, built: Built) -> None:
    for place, group in enumerate(("met in English only", "met in the language")):
        for (row, column), cell in cells(page, f"group-{place}").items():
            expected = average(built.world, ROWS[row], COLUMNS[column], group)
            assert numbers(cell)[0] == pytest.approx(expected, abs=0.0501)


def test_connection_table_holds_the_differences_within_a_run(page: PageReader, built: Built) -> None:
    pairs = {
        "CC-Tuning\nTransform Matrix − connection off": ("transform", "off"),
        "CC-Tuning\nreal English prompt − Transform Matrix": ("parallel", "transform"),
    }
    for (row, column), cell in cells(page, "connection").items():
        minuend, subtrahend = pairs[row]
        expected = average(built.world, ("cc-tuning", minuend), COLUMNS[column])
        expected -= average(built.world, ("cc-tuning", subtrahend), COLUMNS[column])
        assert numbers(cell)[0] == pytest.approx(expected, abs=0.0501)


def test_csv_holds_every_score(built: Built) -> None:
    rows = list(csv.DictReader(io.StringIO(built.text("scores.csv"))))
    languages = len(built.world.languages) + 1
    assert len(rows) == len(ROWS) * len(COLUMNS) * languages
    for row in rows:
        if row["language"] == "avg":
            measure = (row["benchmark"], row["metric"])
            expected = average(built.world, (row["run"], row["connection"]), measure)
            assert float(row["value"]) == pytest.approx(expected, abs=1e-4)
            if row["run"] != "ml-sft":
                difference = expected - average(built.world, ("ml-sft", "off"), measure)
                assert float(row["difference"]) == pytest.approx(difference, abs=1e-3)
                assert row["baseline"] == "ml-sft"


def test_rows_per_stage_add_up(page: PageReader) -> None:
    _, *rows = page.tables["counts"]
    assert [row[0].split("\n")[0] for row in rows] == [
        "select", "translate", "materialize", "train", "train", "transform", "evaluate", "evaluate",
    ]  # fmt: skip
    for _, read, kept, not_selected, set_aside in rows:
        assert int(read) == int(kept) + int(not_selected) + int(set_aside)
    assert [row[1:] for row in page.tables["quarantine"][1:]] == [["blank", "4"], ["too_long", "2"]]


def test_difference_of_an_augmented_run_is_taken_on_the_same_training_data(build_report: BuildReport) -> None:
    world = World(runs=runs_of("ml-sft", "ml-sft+mt", "cc-tuning+mt"), benchmarks=("MKQA",), grouped=False)
    rows = pl.read_csv(io.StringIO(build_report(world).text("scores.csv"))).filter(pl.col("language") == "avg")
    baselines = dict(rows.select("run", "baseline").iter_rows())
    assert baselines == {"ml-sft": None, "ml-sft+mt": "ml-sft", "cc-tuning+mt": "ml-sft+mt"}
