"""Task: give every row its English version, and one task for each worker process that does it."""

from collections.abc import Callable

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactRef
from tasks.perform import perform, state_of
from tasks.retries import worth_retrying


@task(
    name="translate rows",
    task_run_name="{step.label}",
    tags=["data", "gpu"],
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def translate_rows(step: Step, execution: Execution) -> State[ArtifactRef]:
    """Pairs under the ParallelPair contract; a retry goes on from the finished shards."""
    return state_of(perform(step, execution, in_tasks))


@task(
    name="decode shards",
    task_run_name="decode shards, worker {worker}",
    tags=["data", "gpu"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def watch_worker(worker: int, work: Callable[[int], None]) -> None:
    """Watch over one worker process; it has no retries of its own, since `translate rows` plans anew what is left."""
    work(worker)


def in_tasks(work: Callable[[int], None], workers: int) -> None:
    """A task run per worker, in threads of the flow's task runner.

    They may be submitted, unlike training: they only watch, and a flow that is cancelled tells them to stop.
    """
    for future in watch_worker.map(range(workers), work=unmapped(work)):
        future.result()
