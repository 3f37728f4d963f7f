"""Task: make a part of the embedded default: its world, its base model or its translator."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactRef
from tasks.perform import perform, state_of
from tasks.retries import worth_retrying


@task(
    name="make miniature",
    task_run_name="{step.label}",
    tags=["miniature"],
    retries=0,
    retry_delay_seconds=0,
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def make_miniature(step: Step, execution: Execution) -> State[ArtifactRef]:
    """The artifact that stands in for real data or a real model."""
    return state_of(perform(step, execution))
