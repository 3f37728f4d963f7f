"""Task: answer the benchmark items with one run's checkpoint, and score the answers."""

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.parquet import read_parquet
from data_contracts.schemas import Score
from data_contracts.store import ArtifactRef, ArtifactStore
from tasks.perform import perform, state_of, table
from tasks.retries import worth_retrying


@task(
    name="evaluate run",
    task_run_name="{step.label}",
    tags=["evaluation", "gpu"],
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def evaluate_run(step: Step, execution: Execution) -> State[ArtifactRef]:
    """Predictions, item scores and scores with intervals; the averages over languages are shown as a table."""
    outcome = perform(step, execution)
    if not outcome.was_cached:
        scores = read_parquet(ArtifactStore(execution.store).path(outcome.ref) / "scores.parquet", Score)
        averages = scores.filter(pl.col("language") == "avg").select(
            "benchmark", "connection", "metric", "items", "value", "ci_low", "ci_high"
        )
        table(step, "scores", averages.to_dicts(), f"Averages over languages: {step.label}")
    return state_of(outcome)
