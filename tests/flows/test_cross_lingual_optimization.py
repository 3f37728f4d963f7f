"""CLO from a recipe to the report: what its runs share, and that the margins of training can be read afterwards."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.publishing import publish
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import run_step
from cc_tuning.training.metrics import read_metrics
from data_contracts.files import read_json
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ParallelPair, PreferenceRow, ReferenceRow, WinRate
from data_contracts.store import ArtifactStore

SMALLEST = Path(__file__).parent / "smallest.yaml"

pytestmark = pytest.mark.slow


def test_english_rows_become_pairs_of_the_target_and_answers_are_judged(tmp_path: Path) -> None:
    overrides = [
        f"execution.store={tmp_path / 'store'}", f"execution.output={tmp_path / 'runs'}", "runs=[sft, clo]",
        "data.languages=[eng]", "translation.target=swh", "training.validation_fraction=0.2",
        "evaluation.benchmarks=[MKQA]", "evaluation.languages=[en, sw]", "judge.kind=rule", "judge.benchmarks=[MKQA]",
        "execution.quarantine_limit=1",
    ]  # fmt: skip
    plan = plan_recipe(load_recipe(SMALLEST, overrides))
    store = ArtifactStore(plan.recipe.execution.store)
    for step in plan:
        run_step(step, store, plan.recipe.execution, no_progress)
    sft, clo = plan.runs
    assert sft.judge is None and clo.judge is not None and clo.data
    pairs = read_parquet(store.path(clo.data.translate.ref) / "pairs.parquet", ParallelPair)
    assert set(pairs["flores_code"]) == {"swh_Latn"} and set(pairs["origin"].cast(pl.String)) == {"translated"}
    rates = read_parquet(store.path(clo.judge.ref) / "win_rates.parquet", WinRate)
    assert set(rates["language"]) == {"en", "sw"} and set(rates["baseline"]) == {"sft"}
    assert rates["open"].sum() == 0
    page = publish(plan, plan.recipe.execution).read_text(encoding="utf-8")
    assert "Moved into a language" in page and "MKQA win rate, sw Swahili" in page


def test_dpo_after_fine_tuning_and_clo_with_the_connection_go_from_pairs_to_the_report(tmp_path: Path) -> None:
    overrides = [
        f"execution.store={tmp_path / 'store'}", f"execution.output={tmp_path / 'runs'}",
        "runs=[sft+dpo, clo+cc]", "evaluation.benchmarks=[XNLI]", "training.validation_fraction=0.2",
    ]  # fmt: skip
    plan = plan_recipe(load_recipe(SMALLEST, overrides))
    store = ArtifactStore(plan.recipe.execution.store)
    for step in plan:
        run_step(step, store, plan.recipe.execution, no_progress)
    page = publish(plan, plan.recipe.execution).read_text(encoding="utf-8")
    models = set()
    for run in plan.runs:
        assert run.materialize and run.reference and run.train
        rows = read_parquet(store.path(run.materialize.ref) / "preference_rows.parquet", PreferenceRow)
        values = read_parquet(store.path(run.reference.ref) / "reference.parquet", ReferenceRow)
        assert values["row_id"].to_list() == rows["row_id"].to_list()
        models.add(read_json(store.path(run.reference.ref) / "summary.json")["model"])
        first = read_metrics(store.path(run.train.ref) / "metrics.jsonl")[0]
        assert {"margin", "english_margin", "validation_loss"} <= first.keys()
        if not run.spec.connected:
            assert abs(first["margin"]) < 1e-3, "a run begins as its own reference"
        assert run.spec.title in page
    assert len(models) == 2, "DPO is held against the fine-tuned model, CLO against the base model"
