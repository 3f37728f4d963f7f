"""The runs with self-distillation, from a recipe to the report that counts their rows."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.publishing import publish
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import run_step
from data_contracts.files import read_json
from data_contracts.parquet import read_parquet
from data_contracts.schemas import SDRRL_TASKS, DistilledRow, Score, TrainingRow
from data_contracts.store import ArtifactStore

SMALLEST = Path(__file__).parent / "smallest.yaml"
SHARES = dict.fromkeys(("distilled", "cross_lingual", "translated_answer", "code_switched"), 0.25)

pytestmark = pytest.mark.slow


def test_both_methods_learn_from_the_rows_and_the_report_counts_them(tmp_path: Path) -> None:
    overrides = [
        f"execution.store={tmp_path / 'store'}", f"execution.output={tmp_path / 'runs'}",
        "runs=[ml-sft+sdrrl, cc-tuning+sdrrl]", "evaluation.benchmarks=[XNLI]", "miniature.base_model.steps=150",
        "distillation.dtype=float32", "distillation.max_new_tokens=32",
        *(f"distillation.{task}={share}" for task, share in SHARES.items()),
    ]  # fmt: skip
    plan = plan_recipe(load_recipe(SMALLEST, overrides))
    (data,) = plan.data
    assert data.distill is not None
    store = ArtifactStore(plan.recipe.execution.store)
    for step in plan:
        run_step(step, store, plan.recipe.execution, no_progress)
    report = publish(plan, plan.recipe.execution).parent

    distilled = read_parquet(store.path(data.distill.ref) / "distilled_rows.parquet", DistilledRow)
    for run in plan.runs:
        folder = store.path(run.materialize.ref)
        rows = read_parquet(folder / "training_rows.parquet", TrainingRow)
        added = rows.filter(pl.col("task").cast(pl.String).is_in(SDRRL_TASKS))
        assert added["row_id"].to_list() == distilled["row_id"].to_list()
        assert store.manifest(run.train.ref).rows.read == rows.height
        assert read_parquet(store.path(run.evaluate.ref) / "scores.parquet", Score).height
        counts = read_json(folder / "summary.json")["rows_by_task"]
        for page in (report / "report.md").read_text(encoding="utf-8"), (report / "index.html").read_text("utf-8"):
            assert all(task in page for task in counts)
    table = next(
        line for line in (report / "report.md").read_text(encoding="utf-8").splitlines() if line.startswith("| +SDRRL")
    )
    cells = [cell.strip() for cell in table.strip("|").split("|")][1:]
    expected = [counts[task] for task in ("native", *SDRRL_TASKS) if task in counts]
    assert [int(cell) for cell in cells] == [sum(expected), *expected]
