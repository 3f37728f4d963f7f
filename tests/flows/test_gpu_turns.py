"""Two deployments never compute on one GPU at the same time, unless told to."""

import subprocess
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import BaseModel

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import Build, Stage, run_step
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactStore
from tasks.gpus import in_turn
from tests.flows.deployed import PROGRAMS, ROOT, Server

TURN = """
import sys, time
from pathlib import Path
from prefect import flow, task
from tasks.gpus import gpu_slot

@task
def compute(file):
    with gpu_slot():
        began = time.time()
        time.sleep(5)
        Path(file).write_text(f"{began} {time.time()}")

@flow(persist_result=False)
def take_turn(file):
    compute(file)

take_turn(sys.argv[1])
"""


class Settings(BaseModel):
    size: int = 1


def count_one(_build: Build[Settings]) -> RowCounts:
    return RowCounts(read=1, kept=1)


def test_a_stage_that_computes_on_no_gpu_asks_nobody_and_is_the_same_step(tmp_path: Path) -> None:
    execution = Execution(store=tmp_path, device="cpu")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # where nobody answers
        for tags in ((), ("gpu",)):
            step = Stage("count", 1, "Count.", count_one, tags=tags).step(Settings())
            turning = in_turn(step)
            assert turning.fingerprint == step.fingerprint
            assert (
                run_step(turning, ArtifactStore(tmp_path / str(len(tags))), execution, no_progress).manifest.rows.kept
                == 1
            )


@pytest.mark.slow
def test_two_runs_on_one_gpu_take_turns(server: Server, tmp_path: Path) -> None:
    server.command("cc-tuning", "deploy", "report", "--gpu-limit", "gpu=1")
    files = [tmp_path / name for name in ("first", "second")]
    runs = [
        subprocess.Popen(
            [PROGRAMS / "python", "-c", TURN, str(file)], env=server.variables, cwd=ROOT, stderr=subprocess.PIPE
        )
        for file in files
    ]
    for run in runs:
        _, said = run.communicate(timeout=900)
        assert run.returncode == 0, said
    spans = sorted([float(each) for each in file.read_text().split()] for file in files)
    assert spans[0][1] <= spans[1][0], f"both computed at once: {spans}"
