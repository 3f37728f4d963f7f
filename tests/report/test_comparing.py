"""The gate: two reports, what changed between them, and what of it is no chance."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cc_tuning.evaluation.statistics.intervals import Settings
from cc_tuning.report.comparing import compare_reports
from data_contracts.files import read_json
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.schemas import ItemScore
from flows.cli import main
from tests.report.built_report import BuildReport, Built
from tests.report.report_artifacts import World, score_rows

ITEMS = 120


def right_answers(share: float, seed: int) -> np.ndarray:
    """0 or 100 for each of two languages; easy items are easy in both."""
    draw = np.random.default_rng(seed)
    hardness = np.random.default_rng(99).random((ITEMS, 1))
    return 100.0 * (0.6 * hardness + 0.4 * draw.random((ITEMS, 2)) < share)


def rows(values: np.ndarray, run: str = "ml-sft", benchmark: str = "XNLI", metric: str = "accuracy") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"run": run, "connection": "off", "benchmark": benchmark, "language": language, "item_id": f"x-{item}",
             "metric": metric, "group": None, "cluster": f"p-{item // 3}", "value": float(values[item, column])}
            for item in range(len(values))
            for column, language in enumerate(("en", "ar"))
        ],
        schema_overrides={"group": pl.String, "cluster": pl.String},
    )  # fmt: skip


Report = Callable[..., Path]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A folder with what the gate reads of a report."""

    def write(name: str, *frames: pl.DataFrame) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "index.html").write_text("<!doctype html>", encoding="utf-8")
        write_parquet(pl.concat(frames), folder / "item_scores.parquet", ItemScore)
        return folder

    return write


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cc-tuning", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_report_keeps_the_scores_of_every_run(built: Built) -> None:
    kept = read_parquet(built.folder / "item_scores.parquet", ItemScore)
    expected = pl.concat(score_rows(run, built.world) for run in built.world.runs)
    key = ItemScore.primary_key()
    plain = kept.with_columns(pl.col("connection", "benchmark").cast(pl.String))
    assert plain.sort(key).equals(expected.select(kept.columns).sort(key))


def test_report_against_itself_has_no_change(built: Built) -> None:
    found = compare_reports(built.folder, built.folder)
    assert len(found.changes) == (1 + 3) * 3  # ML-SFT, and CC-Tuning in three ways, on three benchmarks
    assert not found.significant and not found.only_first and not found.only_second
    for change in found.changes:
        assert (change.comparison.value, change.comparison.p_holm) == (0, 1)
        assert change.comparison.low < 0 < change.comparison.high
        assert change.first == change.second


def test_two_built_reports_are_compared_by_run_and_connection(build_report: BuildReport) -> None:
    worlds = [World(seed=seed, benchmarks=("MKQA",), items=9) for seed in (1, 2)]
    found = compare_reports(*(build_report(world).folder for world in worlds))
    for change in found.changes:
        means = []
        for world in worlds:
            (run,) = (run for run in world.runs if run.name == change.run)
            scores = score_rows(run, world).filter(pl.col("connection") == change.connection)
            means.append(scores.group_by("language").agg(pl.col("value").mean())["value"].mean())
        assert [change.first, change.second] == pytest.approx(means)
        assert change.comparison.value == pytest.approx(means[1] - means[0])


def test_drop_fails_the_gate_and_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], report: Report, tmp_path: Path
) -> None:
    good, bad = report("good", rows(right_answers(0.7, 1))), report("bad", rows(right_answers(0.4, 2)))
    written = tmp_path / "new" / "comparison.json"
    assert run_main(monkeypatch, good, bad, "--fail-on", "regression", "--json", written) == 1
    printed = capsys.readouterr().out
    (change,) = read_json(written)["changes"]
    assert change["verdict"] == "worse" and change["high"] < 0
    assert change["items"] == 2 * ITEMS and change["clusters"] == ITEMS // 3
    assert change["sentence"] in printed
    assert f"{-change['difference']:.1f} points below ml-sft of the first report on XNLI" in printed
    assert "1 show a change: 0 to the better, 1 to the worse" in printed
    assert run_main(monkeypatch, good, bad) == 0  # only asked to tell
    assert run_main(monkeypatch, bad, good, "--fail-on", "regression") == 0  # a rise


def test_direction_is_that_of_the_metric(report: Report) -> None:
    lower, higher = (
        report(name, rows(1.0 + values / 1000, metric="rougeL", benchmark="XLSum"))
        for name, values in (("lower", right_answers(0.4, 1)), ("higher", right_answers(0.7, 1)))
    )
    (change,) = compare_reports(lower, higher, ["rougeL"]).changes
    assert change.comparison.verdict == "better"
    (change,) = compare_reports(higher, lower, ["rougeL"]).changes
    assert change.comparison.verdict == "worse"


def test_several_comparisons_ask_for_more_than_one(report: Report) -> None:
    """A difference that alone would be one is none among 40 others without any."""
    first, second = right_answers(0.55, 1), right_answers(0.55, 1)
    places = np.flatnonzero(second[:, 0] == 100)[::4][:8]
    second[places, 0] = 0.0
    alone = compare_reports(report("a", rows(first)), report("b", rows(second)))
    assert [change.comparison.verdict for change in alone.changes] == ["worse"]
    others = [rows(first, run=f"run-{number}") for number in range(40)]
    among = compare_reports(report("c", rows(first), *others), report("d", rows(second), *others))
    assert not among.significant
    (change,) = (change for change in among.changes if change.run == "ml-sft")
    assert change.comparison.p == alone.changes[0].comparison.p
    assert change.comparison.p_holm == pytest.approx(41 * change.comparison.p)
    assert "among all that were compared with it it may be chance" in change.sentence


def test_items_and_runs_of_one_report_alone_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], report: Report
) -> None:
    values = right_answers(0.5, 1)
    scores = rows(values)
    missing = scores.filter(
        (pl.col("item_id") != "x-3") & ~((pl.col("item_id") == "x-7") & (pl.col("language") == "ar"))
    )
    more = rows(values, run="cc-tuning")
    first, second = report("first", scores), report("second", missing, more)
    (change,) = compare_reports(first, second).changes
    assert (change.only_first, change.only_second, change.comparison.items) == (3, 0, 2 * ITEMS - 3)
    assert run_main(monkeypatch, first, second) == 0
    printed = capsys.readouterr().out
    assert "3 scores of the first report in 1 comparisons: the second lacks their items" in printed
    assert "Only the second report has: cc-tuning off XNLI accuracy." in printed


def test_published_folder_of_a_recipe_is_found(report: Report, tmp_path: Path) -> None:
    made = report("made", rows(right_answers(0.5, 1)))
    (tmp_path / "runs").mkdir()
    made.rename(tmp_path / "runs" / "report")
    assert len(compare_reports(tmp_path / "runs", tmp_path / "runs" / "report").changes) == 1


def test_mistakes_are_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], report: Report, tmp_path: Path
) -> None:
    values = right_answers(0.5, 1)
    good = report("good", rows(values))
    other_items = report("others", rows(values).with_columns(item_id=pl.col("item_id") + "!"))
    other_run = report("run", rows(values, run="cc-tuning"))
    old = report("old", rows(values))
    (old / "item_scores.parquet").unlink()
    empty = report("empty", rows(values).head(0))
    damaged = report("damaged", rows(values))
    (damaged / "item_scores.parquet").write_bytes(b"PAR1")
    unusual = report("unusual", rows(right_answers(0.7, 1), metric="accuracy_extracted"))
    for arguments, words in (
        ((good, tmp_path / "nowhere"), "nowhere is no report: it has no index.html"),
        ((good, old), "old has no item_scores.parquet"),
        ((good, empty), "holds no scores"),
        ((good, damaged), "cannot be read as parquet"),
        ((good, other_items), "share no item"),
        ((good, other_run), "no run, connection, benchmark and metric in common"),
        ((good, good, "--metric", "blue"), "neither report has the metric blue; they have accuracy"),
        ((unusual, unusual), "neither a headline metric nor gold_nll; they have accuracy_extracted"),
        ((good, good, "--json", tmp_path), "--json"),
        ((good, good, "--json", good / "index.html" / "x.json"), "cannot be written"),
    ):
        assert run_main(monkeypatch, *arguments) == 2, words
        printed = capsys.readouterr()
        assert words in printed.err
        assert printed.err.strip().count("\n") == 0
    assert run_main(monkeypatch, good, good, "--fail-on", "anything") == 2


def test_what_is_gone_from_the_second_report_fails_the_gate_that_asks_for_it(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = right_answers(0.5, 1)
    both = report("both", pl.concat([rows(values, run=run) for run in ("a", "b")]))
    one, fewer = report("one", rows(values, run="a")), report("fewer", rows(values, run="a").head(-1))
    for first, second, missing in ((both, one, 1), (one, both, 0), (one, fewer, 1), (fewer, one, 0), (both, both, 0)):
        assert run_main(monkeypatch, first, second, "--fail-on", "missing") == missing
        assert run_main(monkeypatch, first, second, "--fail-on", "regression") == 0
        assert run_main(monkeypatch, first, second, "--fail-on", "either") == missing


def test_order_of_rows_and_of_runs_changes_nothing(report: Report) -> None:
    frames = [rows(right_answers(0.5, 1), run=run) for run in ("a", "b")]
    changed = [rows(right_answers(0.6, 2), run=run) for run in ("a", "b")]
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=3) for frame in reversed(changed)]
    found = [
        compare_reports(report(f"{name} first", *frames), report(f"{name} second", *after)).as_json()
        for name, after in (("sorted", changed), ("shuffled", shuffled))
    ]
    assert json.dumps(found[0]) == json.dumps(found[1])


@pytest.mark.slow
def test_gate_over_runs_without_a_difference_fails_at_most_one_time_in_20(tmp_path: Path) -> None:
    """Every run answers some items otherwise than before, as often to the better as to the worse."""
    draw, experiments, alarms = np.random.default_rng(11), 200, 0
    for _ in range(experiments):
        folders = []
        hardness = draw.random((ITEMS, 1))
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            (folder / "index.html").write_text("<!doctype html>", encoding="utf-8")
            frames = []
            for run in range(5):
                answers = 100.0 * (0.6 * hardness + 0.4 * draw.random((ITEMS, 2)) < 0.5)
                frames += [
                    rows(answers, f"run-{run}"),
                    rows(hardness + draw.random((ITEMS, 2)), f"run-{run}", metric="gold_nll"),
                ]
            write_parquet(pl.concat(frames), folder / "item_scores.parquet", ItemScore)
            folders.append(folder)
        found = compare_reports(folders[0], folders[1], settings=Settings(samples=300))
        assert len(found.changes) == 10
        alarms += bool(found.regressions)
    assert alarms / experiments <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / experiments)
