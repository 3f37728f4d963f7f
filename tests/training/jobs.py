"""What tests of training ask of jobs: what they left behind, and going on with them."""

import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import psutil
import pytest
from safetensors.torch import load_file
from torch import Tensor

from cc_tuning.model.config import ConnectionConfig
from cc_tuning.runtime.step import Build
from cc_tuning.training.config import TrainConfig
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.metrics import read_metrics
from data_contracts.parquet import write_parquet
from data_contracts.schemas import TrainingRow

MakeJob = Callable[..., TrainingJob]
MakeBuild = Callable[..., Build[TrainConfig]]

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="needs the extra lora")
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra deepspeed")


def connected_with(job: TrainingJob, **changes: object) -> TrainingJob:
    """`job` with another connection."""
    connection = ConnectionConfig.model_validate(changes)
    return job.model_copy(update={"config": job.config.model_copy(update={"connection": connection})})


def write_rows(path: Path, rows: list[tuple[list[int], int, list[int]]]) -> Path:
    """A file of training rows `r0, r1, ...` of `(input_ids, prompt_length, english_input_ids)`."""
    frame = pl.DataFrame(
        [
            (f"r{i}", f"p{i}", "native", "swh", "Swali", "Jibu", "Question", ids, prompt_length, english)
            for i, (ids, prompt_length, english) in enumerate(rows)
        ],
        schema=TrainingRow.create_empty().schema,
        orient="row",
    )
    write_parquet(frame, path, TrainingRow)
    return path


# -- what a job left behind


def column(job: TrainingJob, name: str) -> list[float]:
    """One figure of every line."""
    return [line[name] for line in read_metrics(job.folder / "metrics.jsonl")]


def tensors(job: TrainingJob) -> dict[str, Tensor]:
    """All tensors of a run's checkpoint."""
    checkpoint = job.folder / "checkpoint"
    connection = checkpoint / "cross_lingual_connection.safetensors"
    return load_file(checkpoint / "model.safetensors") | (load_file(connection) if connection.is_file() else {})


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest of all differences."""
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


# -- going on


def resuming(job: TrainingJob, other: TrainingJob, step: int) -> TrainingJob:
    """`job`, going on from the checkpoint that `other` left at `step`."""
    return job.model_copy(update={"resume_from": other.folder / f"trainer/checkpoint-{step}"})


def keep_lines(of: TrainingJob, to: TrainingJob) -> None:
    """Give `to` the lines of `of`, as a run that goes on in its own folder has them."""
    shutil.copy(of.folder / "metrics.jsonl", to.folder)


# -- processes


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Return when `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.01)


def processes_naming(text: str) -> list[psutil.Process]:
    """Living processes with `text` in their command."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and any(text in part for part in process.info["cmdline"] or []):
            found.append(process)
    return found
