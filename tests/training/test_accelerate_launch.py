"""The shipped files of `accelerate launch` start the job they are given, and it ends where torchrun's does."""

import sys

import pytest
from safetensors.torch import load_file

from cc_tuning.training.job import TrainingJob
from cc_tuning.training.launch import write_job
from tests.training.jobs import MakeJob, needs_deepspeed
from tests.training.launching import ROOT, run_command, run_on_ranks


def launch(name: str, job: TrainingJob) -> None:
    """Train `job` with `configs/accelerate/NAME.yaml`, whose processes are two here, each with a thread of a CPU."""
    run_command(
        [
            *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
            *("--config_file", str(ROOT / f"configs/accelerate/{name}.yaml"), "--num_processes", "2"),
            *("--main_process_ip", "127.0.0.1", "--main_process_port", "0"),
            *("-m", "cc_tuning.training.worker", str(write_job(job))),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "engine"),
    [("ddp", "none"), ("fsdp2", "fsdp2"), pytest.param("zero3", "zero3", marks=needs_deepspeed)],
)
def test_a_shipped_file_trains_the_bits_of_our_own_launch(make_job: MakeJob, name: str, engine: str) -> None:
    ours = make_job("ours", "cc", {"processes": 2, "sharding": engine})
    run_on_ranks("cc_tuning.training.worker", [ours])
    theirs = make_job("theirs", "cc")
    launch(name, theirs)
    for file in ("model.safetensors", "cross_lingual_connection.safetensors"):
        expected, got = (load_file(job.folder / "checkpoint" / file) for job in (ours, theirs))
        assert expected.keys() == got.keys()
        assert all(bool((expected[key] == got[key]).all()) for key in expected)
