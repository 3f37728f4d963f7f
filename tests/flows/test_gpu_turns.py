"""Two deployments never compute on one GPU at the same time, unless told to."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import BaseModel

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import Build, Stage, run_step
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactStore
from tasks.gpus import gpu_slot, in_turn
from tests.flows.deployed import free_port, running_server, running_worker, wait_until


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
def test_a_slot_that_cannot_be_given_back_fails_no_stage_and_what_fails_inside_is_told(tmp_path: Path) -> None:
    with ExitStack() as running:
        server = running.enter_context(running_server(tmp_path))
        server.command("cc-tuning", "deploy", "report", "--gpu-limit", "gpu=1")
        with temporary_settings({PREFECT_API_URL: server.api}):
            with pytest.raises(ZeroDivisionError), gpu_slot():
                _ = 1 / 0
            with gpu_slot():
                running.close()


@pytest.mark.slow
@pytest.mark.parametrize("restarting", [False, True], ids=["a server that stays", "a server that restarts meanwhile"])
def test_two_deployments_at_once_on_one_gpu_take_turns(tmp_path: Path, restarting: bool) -> None:
    port, home, files = free_port(), tmp_path / "prefect", [tmp_path / "first", tmp_path / "second"]
    home.mkdir()
    with ExitStack() as running:
        serving = running.enter_context(ExitStack())
        server = serving.enter_context(running_server(home, port))
        server.command("cc-tuning", "deploy", "report", "--gpu-limit", "gpu=1")
        server.command(
            "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "tests/flows/taking_turns.yaml"
        )  # fmt: skip
        runs = [server.start_run(f"take-turn/{file.name}", file=str(file)) for file in files]
        running.enter_context(running_worker(server, tmp_path / "worker.log", limit=2))
        wait_until(lambda: any(file.with_suffix(".began").exists() for file in files), 900)
        wait_until(lambda: [server.state(run) for run in runs] == ["Running"] * 2, 900)
        if restarting:  # while one holds the slot: the server has to know of it afterwards
            serving.close()
            serving.enter_context(running_server(home, port))
        wait_until(lambda: all(server.has_ended(run) for run in runs), 900)
        assert [server.state(run) for run in runs] == ["Completed"] * 2
    spans = sorted([float(each) for each in file.read_text().split()] for file in files)
    print(f"the second began {spans[1][0] - spans[0][1]:.1f} s after the first had ended")
    assert spans[0][1] <= spans[1][0], f"both computed at once: {spans}"
