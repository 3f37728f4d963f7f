"""The stage as a whole, in real processes: killed, resumed, on two ranks, failing."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cc_tuning.errors import TrainingFailed
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.train import build_training, is_finished
from cc_tuning.training.config import TrainConfig
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.metrics import read_metrics
from cc_tuning.training.worker import train
from data_contracts.files import read_json
from data_contracts.fingerprint import digest_of_files
from data_contracts.layout import TOKENIZER, TRAINING_ROWS
from tests.training.jobs import MakeBuild, processes_naming, wait_for

# What a parent process does: the stage, from a job given as JSON.
PARENT = """
import pathlib, sys
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.training.job import TrainingJob
from cc_tuning.stages.train import build_training
job = TrainingJob.model_validate_json(pathlib.Path(sys.argv[1]).read_text())
inputs = {"training_rows": Location(str(job.rows.parent)), "base": Location(job.base)}
build_training(Build(job.config, inputs, job.folder, job.execution, no_progress))
"""


def _job(build: Build[TrainConfig]) -> TrainingJob:
    rows, base = build.inputs["training_rows"], build.inputs["base"]
    return TrainingJob(
        config=build.config,
        folder=build.folder,
        rows=rows.path / TRAINING_ROWS,
        tokenizer=rows.path / TOKENIZER,
        base=base.name,
        base_revision=None,
        execution=build.execution,
    )


def test_killed_training_resumes_to_the_same_weights(make_build: MakeBuild, tmp_path: Path) -> None:
    settings = {"execution": {"checkpoint_every_steps": 5}, "epochs": 12}
    undisturbed = make_build("undisturbed", "cc", **settings)
    train(_job(undisturbed))
    build = make_build("killed", "cc", **settings)
    job_file = tmp_path / "killed.json"
    job_file.write_text(_job(build).model_dump_json())
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(job_file)], cwd=Path(__file__).parents[2])
    wait_for(lambda: len(read_metrics(build.folder / "metrics.jsonl")) > 15)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not processes_naming(str(build.folder)))
    assert not (build.folder / "summary.json").exists()

    build_training(build)
    assert read_json(build.folder / "summary.json")["resumed_after_step"] >= 10
    assert digest_of_files(build.folder / "checkpoint") == digest_of_files(undisturbed.folder / "checkpoint")
    losses = [[line["loss"] for line in read_metrics(b.folder / "metrics.jsonl")] for b in (build, undisturbed)]
    assert losses[0] == losses[1]


def test_finished_training_is_not_repeated_and_a_damaged_one_is(make_build: MakeBuild) -> None:
    build = make_build("run")
    train(_job(build))
    assert is_finished(build.folder)
    before = (build.folder / "metrics.jsonl").stat().st_mtime_ns
    counts = build_training(build)
    assert (counts.read, counts.kept) == (24, 24)
    assert (build.folder / "metrics.jsonl").stat().st_mtime_ns == before
    names = sorted(path.name for path in build.folder.iterdir())
    assert names == ["checkpoint", "metrics.jsonl", "summary.json"]
    (build.folder / "checkpoint" / "config.json").unlink()
    assert not is_finished(build.folder)


def test_two_ranks_share_the_batch_and_listen_on_loopback_only(make_build: MakeBuild) -> None:
    listening: set[str] = set()

    def look_at_sockets(done: int, total: int, unit: str, detail: str = "") -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                connections = process.net_connections("inet")
                listening.update(c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN)

    build = make_build(
        "ranks", "cc", {"processes": 2, "device_batch_size": 2}, look_at_sockets, epochs=1, dtype="bfloat16"
    )
    build_training(build)
    lines = read_metrics(build.folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(sum(line["selection_counts"]) == 4 for line in lines)
    assert listening == {"127.0.0.1"}
    assert json.loads((build.folder / "checkpoint/config.json").read_text())["dtype"] == "bfloat16"


def test_failing_rank_is_quoted(make_build: MakeBuild, tmp_path: Path) -> None:
    build = make_build("run")
    base = shutil.copytree(build.inputs["base"].path, tmp_path / "cut")
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:1000])
    inputs = {**build.inputs, "base": Location(str(base))}
    with pytest.raises(TrainingFailed, match=r"(?s)rank 0:.*ArtifactMismatch: the model in .*cut cannot be loaded"):
        build_training(Build(build.config, inputs, build.folder, build.execution, build.progress))
