"""Task: train one run. Call it directly, never `.submit()`: only then does a cancelled flow reach its processes."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactRef
from tasks.perform import perform, state_of
from tasks.retries import worth_retrying


@task(
    name="train model",
    task_run_name="{step.label}",
    tags=["training", "gpu"],
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def train_model(step: Step, execution: Execution) -> State[ArtifactRef]:
    """A checkpoint any Hugging Face tool loads; a retry goes on from the newest complete training checkpoint."""
    return state_of(perform(step, execution))
