"""The tables of connections, against differences that are put into the scores of a store."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.report.config import ReportConfig
from data_contracts.layout import ITEM_SCORES, PREDICTIONS, SCORES
from data_contracts.manifest import RowCounts
from data_contracts.schemas import ItemScore, Prediction, Score
from data_contracts.store import ArtifactStore
from tests.report.made_evidence import score_frame
from tests.report.report_artifacts import World, finish, mean_rows, prediction_rows

Benchmark = Callable[[str], ModuleType]

SMALLEST = Path(__file__).resolve().parents[1] / "flows" / "smallest.yaml"
NLL = {"cc-tuning": {"off": 0.0, "transform": -0.1, "parallel": -0.4, "other": 0.2}, "ml-sft": {"off": -0.05}}
"""What is added to an item's likelihood, in nats a token, by run and connection."""


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    changes = ["seeds=[0, 1]", "evaluation.benchmarks=[MKQA]", f"execution.store={tmp_path / 'store'}"]
    return plan_recipe(load_recipe(SMALLEST, changes))


def put(plan: Plan, names: list[str]) -> None:
    """Evaluations of the runs of these names, in which two thirds of the answers of each mode are right."""
    assert isinstance(plan.report.config, ReportConfig)
    store, config = ArtifactStore(plan.recipe.execution.store), plan.report.config
    reported = {run.name: run for run in config.runs}
    for run in plan.runs:
        if run.name in names:
            scores = pl.concat([likelihoods(run.name, NLL[run.spec.name]), answers(run.name, NLL[run.spec.name])])
            files = {
                ITEM_SCORES: (scores, ItemScore),
                SCORES: (mean_rows(scores), Score),
                PREDICTIONS: (prediction_rows(reported[run.name], World(benchmarks=["MKQA"])), Prediction),
            }
            finish(store, run.evaluate.ref, run.evaluate.label, files, RowCounts(read=60, kept=60))


def likelihoods(run: str, added: Mapping[str, float]) -> pl.DataFrame:
    """Half of the items are moved by a half more, the others by a half less, so that the mean is what is added."""
    lot = random.Random(0)
    items = {(language, f"item-{n}"): lot.gauss(3, 1) for n in range(30) for language in ("en", "sw")}
    parts = {(language, item): 0.5 + int(item.removeprefix("item-")) % 2 for language, item in items}
    scores = {mode: {at: nll + more * parts[at] for at, nll in items.items()} for mode, more in added.items()}
    return score_frame(run, scores)


def answers(run: str, added: Mapping[str, float]) -> pl.DataFrame:
    right = {(language, f"item-{n}"): 100.0 * (n % 3 > 0) for n in range(30) for language in ("en", "sw")}
    return score_frame(run, {mode: right for mode in added if mode != "other"}, metric="accuracy")


def figures(rows: list[list[str]]) -> list[str]:
    """Of the one run's row, what stands before each interval."""
    _, row = rows
    return [cell.split(" [")[0].removesuffix(" ▲").removesuffix(" ▼") for cell in row]


def test_tables_show_the_differences_that_are_in_the_scores(benchmark: Benchmark, planned: Plan) -> None:
    put(planned, [run.name for run in planned.runs])
    connections = benchmark("connections")
    found = connections.find(planned)
    assert found.missing == ()
    carried, answered = (figures(list(rows(found))) for rows in (connections.carried_rows, connections.answered_rows))
    # over off: 0.1 and 0.4; parallel over other: 0.4 + 0.2; a quarter of 0.4
    assert carried == ["CC-Tuning", "+0.100", "+0.400", "+0.600", "25%"]
    # equal answers; over ML-SFT 0.1 − 0.05 with the map and −0.05 without; the paper's run is not held against itself
    assert answered == ["CC-Tuning", "66.7", "66.7", "66.7", "0.0", "+0.050", "−0.050", "–", "–"]
    # the paper's one, with its map, is 0.05 better
    assert figures(list(connections.competitor_rows(found))) == [
        "ML-SFT",
        "the prompt alone",
        "66.7",
        "–",
        "–",
        "0.0",
        "−0.050",
    ]


def test_a_run_counts_when_all_of_its_seeds_are_there(benchmark: Benchmark, planned: Plan) -> None:
    connections = benchmark("connections")
    with pytest.raises(SystemExit, match="no run of smallest was evaluated with all of its seeds"):
        connections.find(planned)
    put(planned, ["cc-tuning-seed0", "ml-sft-seed0", "ml-sft-seed1"])
    found = connections.find(planned)
    assert found.missing == ("cc-tuning",)
    assert [family.name for family in found.results.families] == ["ml-sft"]


def test_tables_go_between_the_marks_and_nothing_else_of_the_page_changes(benchmark: Benchmark) -> None:
    connections = benchmark("connections")
    page = f"before\n\n{connections.BEGIN}\nold\n{connections.END}\n\nafter\n"
    written = connections.put_between(page, ["| a |", "|---|", "| b |", ""])
    assert written == f"before\n\n{connections.BEGIN}\n\n| a |\n|---|\n| b |\n\n{connections.END}\n\nafter\n"
    assert connections.put_between(written, ["| a |", "|---|", "| b |", ""]) == written
    with pytest.raises(SystemExit, match="has not both of the lines"):
        connections.put_between(connections.END + connections.BEGIN, [])
