"""Which failures are worth another try."""

from typing import Any

from prefect.client.schemas.objects import State

from cc_tuning.errors import CcTuningError, EvaluationFailed, TrainingFailed, TranslationFailed
from data_contracts.errors import DataContractError


def worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether trying again can help: a dead worker or a failing network yes, a mistake in recipe or data no."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, TrainingFailed | EvaluationFailed | TranslationFailed):
        return True  # a process died; the stage goes on from its last checkpoint or shard
    return not isinstance(error, CcTuningError | DataContractError)
