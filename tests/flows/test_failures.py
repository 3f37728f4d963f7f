"""A stage that fails shows in Prefect's interface why, and what it logged."""

import logging
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from pydantic import BaseModel

from cc_tuning.errors import TrainingFailed
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Build, Stage
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactStore
from tasks.stages import stage_task

pytestmark = pytest.mark.slow


class Settings(BaseModel):
    size: int = 1


def fail(_build: Build[Settings]) -> RowCounts:
    logging.getLogger("cc_tuning.training").info("step 1/2 | loss 3.1 <b>")
    raise TrainingFailed("rank 1 died ~~~~ after step 1")


def test_a_failed_stage_shows_message_log_and_paths_and_its_own_error_travels(tmp_path: Path) -> None:
    step = Stage("train", 1, "Fail.", fail).step(Settings(), "ml-sft")

    @flow
    def failing() -> None:
        stage_task(step.stage)(step, Execution(store=tmp_path))

    with prefect_test_harness(server_startup_timeout=180):
        with pytest.raises(TrainingFailed, match="rank 1 died"):
            failing()
        with get_client(sync_client=True) as client:
            (shown,) = [each for each in client.read_artifacts() if each.key == "train-ml-sft-failure"]
    page = str(shown.data)
    assert shown.task_run_id is not None
    assert "rank 1 died ~~~ after step 1" in page
    assert "train ml-sft: started" in page and "step 1/2 | loss 3.1 <b>" in page
    assert f"{ArtifactStore(tmp_path).folder(step.ref)}.partial" in page
    assert page.count("~~~~") == 4
