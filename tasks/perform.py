"""What every task does: look in the store, run the stage if it must, show what came of it."""

from collections.abc import Callable

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step, run_step
from data_contracts.store import ArtifactRef, ArtifactStore
from tasks.artifacts import SHOWN, prefect_progress, show_rows
from tasks.failures import failure_shown
from tasks.gpus import in_turn


def perform(step: Step, execution: Execution) -> State[ArtifactRef]:
    """The step's artifact as the state `Completed`, which is called `Cached` when nothing had to be computed.

    While it is made, a bar of its progress is shown; then its row counts, and what `SHOWN` has for its stage; or, where
    it fails, its message and log.
    """
    store = ArtifactStore(execution.store)
    with failure_shown(step, store):
        outcome = run_step(in_turn(step), store, execution, prefect_progress(step), in_tasks)
    if outcome.was_cached:
        get_run_logger().info("%s: cached, %s; %s", step.label, step.fingerprint[:12], outcome.manifest.rows)
    else:
        show_rows(step, outcome.manifest.rows)
    if (show := SHOWN.get(step.stage.name)) is not None:
        show(step, store.path(outcome.ref))
    name = "Cached" if outcome.was_cached else "Completed"
    return Completed(name=name, message=f"{step.label}: {outcome.manifest.rows}", data=outcome.ref)


@task(
    name="decode shards",
    task_run_name="decode shards, worker {worker}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def watch_worker(worker: int, work: Callable[[int], None]) -> None:
    """Watch over one worker process; it has no retries of its own, since its stage plans anew what is left.

    Nor has it tags: under somebody's limit of one task with the tag `gpu`, it would wait for its own stage to end.
    """
    work(worker)


def in_tasks(work: Callable[[int], None], workers: int) -> None:
    """Run `work(0)` to `work(workers - 1)`, each as a task run in a thread of the flow's task runner.

    They may be submitted, unlike training: they only watch, and a flow that is cancelled tells them to stop.
    """
    for future in watch_worker.map(range(workers), work=unmapped(work)):
        future.result()
