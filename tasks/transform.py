"""Task: sample activations of parallel prompts and fit the Transform Matrix."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.files import read_json
from data_contracts.store import ArtifactRef, ArtifactStore
from tasks.perform import perform, state_of, table
from tasks.retries import worth_retrying


@task(
    name="fit transform matrix",
    task_run_name="{step.label}",
    tags=["training", "gpu"],
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def fit_transform_matrix(step: Step, execution: Execution) -> State[ArtifactRef]:
    """`W_T` (Ye et al. 2025, eq. 8) and its diagnostics, shown as a table."""
    outcome = perform(step, execution)
    if not outcome.was_cached:
        diagnostics = read_json(ArtifactStore(execution.store).path(outcome.ref) / "diagnostics.json")
        rows = [{"what": name, "value": value} for name, value in diagnostics.items() if isinstance(value, int | float)]
        table(step, "diagnostics", rows, f"How well the Transform Matrix fits: {step.label}")
    return state_of(outcome)
