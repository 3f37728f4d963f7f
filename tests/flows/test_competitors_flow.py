"""English as text, by a translator, and distilled away: a recipe with all of it, from its rows to the report."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.publishing import publish
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import run_step
from data_contracts.files import read_json
from data_contracts.layout import PIVOT_PROMPTS, REPORT_MARKDOWN
from data_contracts.parquet import read_parquet
from data_contracts.schemas import PivotPrompt, Score
from data_contracts.store import ArtifactStore
from tests.flows.test_pipeline import SMALLEST

RUNS = "[base, ml-sft, context, cc-tuning, {name: predicted, like: cc-distil, set: {connection.predicted_share: 0.5, " \
    "connection.predicted_refit: 1, connection.scale: learned, connection.normalise: centred}}]"  # fmt: skip
AS_TEXT = {"off", "context", "pivot_context"}


@pytest.mark.slow
def test_every_competitor_comes_through_to_the_report(tmp_path: Path) -> None:
    overrides = [
        f"execution.store={tmp_path / 'store'}", f"execution.output={tmp_path / 'runs'}", f"runs={RUNS}",
        "evaluation.competitors=[context, pivot, pivot_context]",
    ]  # fmt: skip
    plan = plan_recipe(load_recipe(SMALLEST, overrides))
    store = ArtifactStore(plan.recipe.execution.store)
    for step in plan:
        run_step(step, store, plan.recipe.execution, no_progress)
    connected = AS_TEXT | {"transform", "parallel", "pivot"}
    expected = {run.name: connected if run.transform else AS_TEXT for run in plan.runs}
    for run in plan.runs:
        folder = store.path(run.evaluate.ref)
        scores = read_parquet(folder / "scores.parquet", Score).filter(pl.col("metric") == "accuracy")
        assert set(scores["connection"].cast(pl.String)) == expected[run.name]
        assert read_json(folder / "scoring.json")["pivot"].endswith("of 4 prompts have no translation and are asked "
            "with the connection off")  # fmt: skip
    pivots = [run.pivot for run in plan.runs if run.pivot]
    assert len({step.ref for step in pivots}) == 1
    made = read_parquet(store.path(pivots[0].ref) / PIVOT_PROMPTS, PivotPrompt)
    assert set(made["language"]) == {"sw"}
    manifest = store.manifest(pivots[0].ref)
    assert manifest.rows.kept + sum(manifest.rows.quarantined.values()) == 4
    page = publish(plan, plan.recipe.execution).with_name(REPORT_MARKDOWN).read_text(encoding="utf-8")
    for label in ("English in the prompt", "translated English prompt", "translated English in the prompt"):
        assert label in page
