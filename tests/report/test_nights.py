"""Nights: the table of their scores, drops against the last good one, the trend page."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.report.nights.drops import find_drop
from cc_tuning.report.nights.history import Night, accept, nights_of, read_history, record, scores_of
from cc_tuning.report.nights.trend import NIGHTS, trend_document, write_trend
from data_contracts.errors import ArtifactMismatch
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ItemScore
from tests.report.built_report import Built
from tests.report.planted_reports import ITEMS, plant_report

BEFORE, AFTER = "2026-11-26", "2026-11-27"


def a_night(date: str = AFTER, verdict: str = "good") -> Night:
    return Night("nightly", date, f"run-of-{date}", "a" * 40, "f" * 64, verdict)  # type: ignore[arg-type]


def test_the_rows_of_a_night_are_the_headline_scores_of_its_report(built: Built) -> None:
    rows = scores_of(built.folder)
    accuracy = rows.filter((pl.col("language") != "avg") & (pl.col("metric") == "accuracy"))
    assert accuracy.height
    items = read_parquet(built.folder / "item_scores.parquet", ItemScore)
    for row in accuracy.to_dicts():
        its = {name: row[name] for name in ("run", "connection", "benchmark", "language")}
        of_row = items.filter(*(pl.col(name).cast(pl.String) == value for name, value in its.items()))
        for column, metric in (("value", "accuracy"), ("gold_nll", "gold_nll")):
            mean = of_row.filter(pl.col("metric") == metric)["value"].mean()
            assert row[column] == (pytest.approx(mean, abs=1e-4) if mean is not None else None)


def test_a_night_that_is_run_again_replaces_its_rows_and_others_stay(tmp_path: Path) -> None:
    table = tmp_path / "nights.parquet"
    first, second = (plant_report(tmp_path / name, shares) for name, shares in (("a", 0.5), ("b", 0.6)))
    record(table, a_night(BEFORE), first)
    record(table, a_night(AFTER), first)
    history = record(table, a_night(AFTER, "dropped"), second)
    assert [(night.date, night.verdict) for night in nights_of(history, "nightly")] == [
        (AFTER, "dropped"), (BEFORE, "good"),
    ]  # fmt: skip
    assert history.equals(read_history(table))
    averages = history.filter(pl.col("language") == "avg").sort("night")["value"].to_list()
    expected = [100 * np.mean(np.arange(ITEMS) < share * ITEMS) for share in (0.5, 0.6)]
    assert averages == pytest.approx(expected, abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir() if "nights" in path.name) == [
        ".nights.parquet.lock", "nights.parquet",
    ]  # fmt: skip


def test_a_drop_of_ten_points_is_found_with_its_figures_and_noise_is_not(tmp_path: Path) -> None:
    good, noisy, lower = (
        plant_report(tmp_path / name, share, moved=moved, seed=seed)
        for name, share, moved, seed in (("good", 0.7, 0, 0), ("noisy", 0.7, 6, 1), ("lower", 0.6, 6, 2))
    )
    assert find_drop(good, good, (BEFORE, AFTER)) is None
    assert find_drop(good, noisy, (BEFORE, AFTER)) is None
    drop = find_drop(good, lower, (BEFORE, AFTER))
    assert drop is not None
    assert "70.0 to 60.0" in drop.message and BEFORE in drop.message and AFTER in drop.message
    (change,) = drop.comparison["changes"]
    assert change["difference"] == pytest.approx(-10, abs=0.01)
    assert find_drop(lower, good, (BEFORE, AFTER)) is None, "a rise is no drop"


def test_a_run_that_is_gone_counts_as_a_drop(tmp_path: Path) -> None:
    both = plant_report(tmp_path / "both", 0.7, runs=("ml-sft", "cc-tuning"))
    one = plant_report(tmp_path / "one", 0.7, runs=("ml-sft",))
    drop = find_drop(both, one, (BEFORE, AFTER))
    assert drop is not None and "Gone: cc-tuning off XNLI accuracy" in drop.message
    assert find_drop(one, both, (BEFORE, AFTER)) is None


def test_a_night_that_dropped_on_purpose_can_be_accepted(tmp_path: Path) -> None:
    table = tmp_path / "nights.parquet"
    record(table, a_night(AFTER, "dropped"), plant_report(tmp_path / "report", 0.5))
    accept(table, "nightly", AFTER)
    assert nights_of(read_history(table), "nightly") == [a_night(AFTER, "good")]
    with pytest.raises(ConfigError, match=f"no night 2026-01-01 of nightly; its last ones are {AFTER}"):
        accept(table, "nightly", "2026-01-01")


def test_a_report_without_a_table_of_scores_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ArtifactMismatch, match=r"scores\.csv is no table with run, connection"):
        scores_of(tmp_path)


def test_the_page_has_the_last_sixty_nights_and_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    table = tmp_path / "nights.parquet"
    report = plant_report(tmp_path / "report", 0.5)
    rows = record(table, a_night("2026-01-01"), report)
    dates = [f"2026-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 26)]
    history = pl.concat([rows.with_columns(night=pl.lit(date)) for date in dates])
    document = trend_document(history, "nightly")
    listed = next(section for section in document.sections if section.key == "nights").blocks[0]
    assert [row[0].text for row in listed.rows] == sorted(dates, reverse=True)[:NIGHTS]  # type: ignore[union-attr]
    write_trend(history, "nightly", tmp_path / "nights.html")
    page = (tmp_path / "nights.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1 and "http" not in page.replace("http-equiv", "")
    assert "50.0" in page
