"""Task: turn pairs into training examples for one data setting."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactRef
from tasks.perform import perform, state_of
from tasks.retries import worth_retrying


@task(
    name="materialize rows",
    task_run_name="{step.label}",
    tags=["data"],
    retries=0,
    retry_delay_seconds=0,
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def materialize_rows(step: Step, execution: Execution) -> State[ArtifactRef]:
    """Rows under the TrainingRow contract, text and token ids."""
    return state_of(perform(step, execution))
