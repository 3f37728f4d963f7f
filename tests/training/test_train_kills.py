"""SIGKILL, to a whole training at random steps and to one of two ranks."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cc_tuning.errors import TrainingFailed
from cc_tuning.runtime.step import Build
from cc_tuning.stages.train import build_training, training_job
from cc_tuning.training.config import TrainConfig
from cc_tuning.training.launch import write_job
from cc_tuning.training.metrics import read_metrics
from cc_tuning.training.worker import train
from data_contracts.files import read_json
from data_contracts.fingerprint import digest_of_files
from tests.training.jobs import MakeBuild, needs_peft, processes_naming, wait_for
from tests.training.launching import ENVIRONMENT, ROOT

LORA = {"lora": {"rank": 4}}
STEPS, KILLS = 60, 5


def start_worker(build: Build[TrainConfig], log: Path) -> subprocess.Popen[bytes]:
    """One training process, which goes on from the newest complete checkpoint."""
    command = [sys.executable, "-m", "cc_tuning.training.worker", str(write_job(training_job(build)))]
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **ENVIRONMENT}, stdout=output, stderr=output)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "training"),
    [
        ("sft", {}),
        ("cc", {}),
        ("cc-attention", {}),
        pytest.param("cc", LORA, marks=needs_peft),
        ("cc", {"validation_fraction": 0.25, "learning_rate": 0.03, "epochs": 12}),  # five steps an epoch
    ],
    ids=["sft", "cc", "cc with attention", "cc with lora", "cc with held-out rows"],
)
def test_training_killed_at_five_random_steps_ends_with_the_same_bits(
    make_build: MakeBuild, tmp_path: Path, kind: str, training: dict[str, object]
) -> None:
    settings = {"execution": {"checkpoint_every_steps": 5}, "epochs": 10, **training}
    undisturbed = make_build("undisturbed", kind, **settings)
    train(training_job(undisturbed))
    build = make_build("killed", kind, **settings)
    kills = sorted(random.Random(f"{kind}{training}").sample(range(2, STEPS - 2), KILLS))
    for step in kills:
        process = start_worker(build, tmp_path / "worker.log")
        wait_for(lambda step=step: any(line["step"] >= step for line in read_metrics(build.folder / "metrics.jsonl")))
        process.kill()
        process.wait()
        assert not (build.folder / "summary.json").exists()
    assert start_worker(build, tmp_path / "worker.log").wait() == 0
    assert read_json(build.folder / "summary.json")["resumed_after_step"] >= kills[-1] - 5
    for name in ("checkpoint", "adapter/adapter_model.safetensors") if "lora" in training else ("checkpoint",):
        assert digest_of_files(build.folder / name) == digest_of_files(undisturbed.folder / name)


def test_when_a_rank_is_killed_all_end_soon_and_their_last_lines_are_shown(make_build: MakeBuild) -> None:
    build = make_build(
        "run", "cc", {"processes": 2, "device_batch_size": 2, "checkpoint_every_steps": 1000}, epochs=400
    )

    def kill_rank_one() -> None:
        wait_for(lambda: len(read_metrics(build.folder / "metrics.jsonl")) >= 3)
        ranks = [process for process in processes_naming(str(build.folder)) if process.environ().get("RANK") == "1"]
        ranks[0].kill()

    killer = threading.Thread(target=kill_rank_one)
    killer.start()
    with pytest.raises(TrainingFailed) as failure:
        build_training(build)
    killer.join()
    assert not (build.folder / "summary.json").exists()
    assert not processes_naming(str(build.folder))
    assert "rank 1 was killed by SIGKILL" in str(failure.value)
    assert "rank 0:" in str(failure.value)
