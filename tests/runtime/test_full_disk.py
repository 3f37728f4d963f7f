"""A full disk is told from other failures, whichever library met it."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from safetensors.torch import save_file

from cc_tuning.errors import TrainingFailed
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.full_disk import full_disk
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import Build, Stage, run_step
from data_contracts.errors import StoreUnavailable
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactStore
from tests.small_disk import small_disk

WEIGHTS = {"weights": torch.zeros(1 << 18)}  # 1 MiB


def fill(folder: Path) -> None:
    with (folder / "filling").open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 12))
                file.flush()
        except OSError:
            pass


def fail_mutely(folder: Path) -> None:
    """As a training process that could not even write what it had to say."""
    fill(folder)
    raise TrainingFailed("training stopped before its last step")


WRITERS: dict[str, Callable[[Path], object]] = {
    "Python": lambda folder: (folder / "file").write_bytes(bytes(1 << 20)),
    "torch": lambda folder: torch.save(WEIGHTS, folder / "file"),
    "safetensors": lambda folder: save_file(WEIGHTS, folder / "file"),
    "a process without a word": fail_mutely,
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 512) as folder:
        yield folder


class _Settings(BaseModel):
    writer: str


def _write(build: Build[_Settings]) -> RowCounts:
    WRITERS[build.config.writer](build.folder)
    return RowCounts(read=1, kept=1)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_stage_that_fills_the_disk_says_so(disk: Path, writer: str) -> None:
    step = Stage("write", 1, "", _write).step(_Settings(writer=writer))
    with pytest.raises(StoreUnavailable, match="the disk is full: free some space"):
        run_step(step, ArtifactStore(disk), Execution(), no_progress)


def test_other_failures_are_none_of_a_full_disk(tmp_path: Path) -> None:
    for error in (
        RuntimeError("shapes differ"),
        TrainingFailed("killed by SIGKILL"),
        OSError(errno.EIO, "Input/output error"),
        ValueError("No space between the words"),
    ):
        assert full_disk(error, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_the_first_cause_is_found_behind_other_errors(tmp_path: Path) -> None:
    try:
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded", "/store/x")
        except OSError as cause:
            raise ValueError("a line could not be written") from cause
    except ValueError as error:
        found = full_disk(error, tmp_path)
    assert found is not None
    assert (found.errno, found.filename) == (errno.EDQUOT, "/store/x")
