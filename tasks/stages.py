"""The task of each stage, from its row in the table of stages.

    make(plan.translate, execution)

Prefect's own cache is off (`NO_CACHE`): the store is the only source of truth, so that the flow, the per-stage commands
and a deployment run all share it, and a hit is a hit only when every file was re-hashed. A task is called, not
submitted: Prefect tells a cancelled flow's main thread only, and training has to hear of it.
"""

from collections.abc import Mapping
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.errors import CcTuningError, EvaluationFailed, TrainingFailed, TranslationFailed
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.stage_table import STAGES
from cc_tuning.runtime.step import Stage, Step
from data_contracts.errors import DataContractError, MirrorUnavailable
from data_contracts.store import ArtifactRef
from tasks.perform import perform

RETRY_DELAYS_SECONDS = [10.0, 60.0]

_NAMES = {
    "world": "make miniature",
    "base_model": "make miniature",
    "translator": "make miniature",
    "items": "make items",
    "select": "select rows",
    "translate": "translate rows",
    "distill": "distill answers",
    "materialize": "materialize rows",
    "reference": "ask reference model",
    "train": "train model",
    "transform": "fit transform matrix",
    "pivot": "translate benchmark prompts",
    "evaluate": "evaluate run",
    "judge": "judge answers",
    "report": "write report",
}
"""What Prefect shows; a stage that does not stand here is shown under its own name."""


def make(step: Step, execution: Execution) -> object:
    """Run the task of the step's stage.

    The artifact is in the store afterwards, and what is returned means something to Prefect only. Errors of the stage
    travel, after its retries.
    """
    return TASKS[step.stage.name](step, execution)


def stage_task(stage: Stage) -> Task[[Step, Execution], State[ArtifactRef]]:
    """A Prefect task that looks a step of `stage` up in the store or makes it, shown as `Cached` or `Completed`."""
    options = task(
        name=_NAMES.get(stage.name, stage.name),
        description=stage.sentence,
        task_run_name="{step.label}",
        tags=stage.tags,
        retries=stage.retries,
        retry_delay_seconds=RETRY_DELAYS_SECONDS[: stage.retries],
        retry_condition_fn=worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return options(perform)


def worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether trying again can help: a dead worker or a failing network yes, a mistake in recipe or data no."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, TrainingFailed | EvaluationFailed | TranslationFailed | MirrorUnavailable):
        return True  # a process died, and the stage goes on from its last checkpoint or shard; or the network failed
    return not isinstance(error, CcTuningError | DataContractError)


TASKS: Mapping[str, Task[[Step, Execution], State[ArtifactRef]]] = {
    name: stage_task(stage) for name, stage in STAGES.items()
}
