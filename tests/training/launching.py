"""Two ranks on this machine, started as the stage starts them, for programs of the tests."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cc_tuning.training.job import TrainingJob
from cc_tuning.training.launch import write_job

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


def run_on_ranks(module: str, jobs: Sequence[TrainingJob], ranks: int = 2) -> None:
    """Run `module` with the files of `jobs` on `ranks` ranks to its end."""
    command = [
        *(sys.executable, "-m", "cc_tuning.training.torchrun", "--nnodes", "1", "--nproc-per-node", str(ranks)),
        *("--rdzv-backend", "loopback", "--rdzv-endpoint", "127.0.0.1:0", "--rdzv-id", "test"),
        *("-m", module, *(str(write_job(job)) for job in jobs)),
    ]
    run_command(command)


def run_command(command: Sequence[str], **environment: str) -> None:
    """Run a command in the project's folder; its last lines are in the error."""
    everything = {**os.environ, **ENVIRONMENT, **environment, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=everything, capture_output=True, text=True, timeout=570)
    assert ended.returncode == 0, f"{ended.stdout[-1500:]}\n{ended.stderr[-5000:]}"
