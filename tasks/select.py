"""Task: choose the rows to learn from."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactRef
from tasks.perform import perform, state_of
from tasks.retries import worth_retrying


@task(
    name="select rows",
    task_run_name="{step.label}",
    tags=["data"],
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def select_rows(step: Step, execution: Execution) -> State[ArtifactRef]:
    """Rows under the AyaRow contract, and those set aside."""
    return state_of(perform(step, execution))
