"""Jobs, their shards and their failures, as they pass between processes."""

import dataclasses
import errno
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
from pydantic import BaseModel

from cc_tuning.errors import ConfigError, EvaluationFailed, UnsupportedModel
from cc_tuning.runtime.execution import Execution, WorkerCount
from cc_tuning.runtime.jobs import WANTED, Job, MakeShard, Say, Shard, Work, WorkerFailure
from cc_tuning.runtime.threads import in_threads
from cc_tuning.runtime.workers import run_here, run_job
from data_contracts.errors import ArtifactMismatch
from tests.watching import wait_until


class Poem(Shard):
    """A text to write."""

    lines: int

    @property
    def size(self) -> int:
        return self.lines


class Poems(Job[Poem]):
    """Texts to write into the job's folder."""

    word: str


class Line(BaseModel):
    written: int


def begin_writing(job: Poems) -> MakeShard[Line]:
    if job.word == "wrong":
        raise ConfigError("the word is wrong; choose another")

    def write(shard: Poem, say: Say[Line]) -> None:
        for _ in range(shard.lines):
            say(Line(written=1))
        job.finished.path(shard.name).parent.mkdir(parents=True, exist_ok=True)
        job.finished.path(shard.name).write_text(f"{job.word} {torch.get_num_threads()}\n" * shard.lines)
        job.finished.mark_done(shard.name, lines=shard.lines)

    return write


WRITING = Work(
    name="writing",
    place="tests.runtime.test_jobs:WRITING",
    job=Poems,
    report=Line,
    failure=EvaluationFailed,
    begin=begin_writing,
    settings=("inference_workers", "evaluation_batch_size"),
)


def poems(folder: Path, word: str = "habari") -> Poems:
    shards = tuple(Poem(name=f"a/{number}.parquet", lines=number) for number in range(1, 6))
    return Poems(execution=Execution(device="cpu", threads=1), folder=folder, shards=shards, word=word)


needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")


@pytest.mark.parametrize(
    ("workers", "runner"),
    [
        pytest.param(None, "threads", id="here"),
        pytest.param("one_per_gpu", "threads", id="one-process-per-gpu"),
        pytest.param(2, "threads", id="two-processes"),
        pytest.param("one_per_gpu", "ray", id="one-actor-per-gpu", marks=[needs_ray, pytest.mark.slow]),
        pytest.param(2, "ray", id="two-actors", marks=[needs_ray, pytest.mark.slow]),
    ],
)
def test_every_worker_does_the_same_and_every_report_arrives(
    tmp_path: Path, workers: WorkerCount | None, runner: str
) -> None:
    job, lines = poems(tmp_path), list[int]()
    job = job.model_copy(update={"execution": job.execution.model_copy(update={"task_runner": runner})})
    if workers is None:
        run_here(WRITING, job, lambda line: lines.append(line.written))
    else:
        run_job(WRITING, job, lambda line: lines.append(line.written), in_threads, workers)
    assert sum(lines) == 15
    assert not job.of_open_shards().shards
    for shard in job.shards:
        assert job.finished.path(shard.name).read_text() == "habari 1\n" * shard.lines


def test_an_error_of_the_work_keeps_its_kind_through_a_process(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the word is wrong; choose another$"):
        run_job(WRITING, poems(tmp_path, "wrong"), lambda line: None, in_threads, 2)


def test_an_error_of_whoever_listens_ends_the_workers_and_is_raised(tmp_path: Path) -> None:
    def listen(line: Line) -> None:
        raise RuntimeError("nobody listens")

    with pytest.raises(RuntimeError, match="nobody listens"):
        run_job(WRITING, poems(tmp_path), listen, in_threads, 2)


DIES, GOES_ON = "dies.parquet", "goes-on.parquet"
"""The first shards of worker 0 and of worker 1."""


def two_fates(folder: Path, word: str = "habari") -> Poems:
    shards = [Poem(name=DIES, lines=9), Poem(name=GOES_ON, lines=8)]
    shards += [Poem(name=f"later-{number}.parquet", lines=1) for number in range(6)]
    return poems(folder, word).model_copy(update={"shards": tuple(shards)})


def is_dismissed(folder: Path) -> bool:
    """Whether worker 1, which is at work, is told to take no other shard."""
    return not (folder / WANTED / "worker-1.json").exists()


def begin_with_two_fates(job: Poems) -> MakeShard[Line]:
    """Worker 0 dies in a shard (or while it loads) when worker 1 is in one (or loads)."""
    is_victim = any(shard.name == DIES for shard in job.shards)
    if job.word == "wrong for one":
        if is_victim:
            raise ConfigError("the word is wrong; choose another")
        time.sleep(3600)
    write = begin_writing(job)

    def write_or_die(shard: Poem, say: Say[Line]) -> None:
        if shard.name == DIES:
            wait_until((job.folder / "at work").exists)
            os.kill(os.getpid(), signal.SIGKILL)
        if shard.name == GOES_ON:
            (job.folder / "at work").touch()
            wait_until(partial(is_dismissed, job.folder))
            if job.word == "stuck":
                time.sleep(3600)
        write(shard, say)

    return write_or_die


TWO_FATES = dataclasses.replace(WRITING, place="tests.runtime.test_jobs:TWO_FATES", begin=begin_with_two_fates)


def assert_no_worker_is_left() -> None:
    workers = [process for process in psutil.Process().children() if "cc_tuning.runtime.worker" in process.cmdline()]
    assert not workers


def test_when_a_worker_dies_the_other_finishes_its_shard_and_takes_no_more(tmp_path: Path) -> None:
    job, lines = two_fates(tmp_path), list[int]()
    with pytest.raises(EvaluationFailed, match=r"^writing worker 0: the worker process was killed by signal SIGKILL"):
        run_job(TWO_FATES, job, lambda line: lines.append(line.written), in_threads, 2)
    assert_no_worker_is_left()
    assert {shard.name for shard in job.shards} - {shard.name for shard in job.of_open_shards().shards} == {GOES_ON}
    assert sum(lines) == 8
    run_job(WRITING, job.of_open_shards(), lambda line: lines.append(line.written), in_threads, 2)
    assert not job.of_open_shards().shards
    assert sum(lines) == sum(shard.lines for shard in job.shards)


def test_a_mistake_found_while_loading_waits_for_no_other_worker_to_load(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the word is wrong; choose another$"):
        run_job(TWO_FATES, two_fates(tmp_path, "wrong for one"), lambda line: None, in_threads, 2)
    assert_no_worker_is_left()


def test_ctrl_c_does_not_wait_for_a_shard_that_is_still_finished(tmp_path: Path) -> None:
    def until_ctrl_c(work: Callable[[int], None], workers: int) -> None:
        pool = ThreadPoolExecutor(workers)
        for worker in range(workers):
            pool.submit(work, worker)
        pool.shutdown(wait=False)
        wait_until((tmp_path / "at work").exists)
        wait_until(partial(is_dismissed, tmp_path))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(TWO_FATES, two_fates(tmp_path, "stuck"), lambda line: None, until_ctrl_c, 2)
    assert_no_worker_is_left()


def test_only_open_shards_are_left_and_strays_are_removed(tmp_path: Path) -> None:
    job = poems(tmp_path)
    run_here(WRITING, job.model_copy(update={"shards": job.shards[:2]}), lambda line: None)
    assert job.of_open_shards().shards == job.shards[2:]
    job.finished.path("a/1.parquet").write_text("damaged")
    assert job.of_open_shards().shards == (job.shards[0], *job.shards[2:])
    for name in ("a/77.parquet", "a/77.parquet.done.json", "b/1.parquet"):
        job.finished.path(name).parent.mkdir(exist_ok=True)
        job.finished.path(name).write_text("of another plan")
    job.remove_strays()
    left = sorted(path.relative_to(job.finished.folder).as_posix() for path in job.finished.folder.rglob("*.*"))
    assert left == [
        "a/1.parquet", "a/1.parquet.done.json", "a/2.parquet", "a/2.parquet.done.json", "b/1.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [ConfigError("x"), UnsupportedModel("y"), ArtifactMismatch("z")])
def test_our_errors_are_the_same_after_the_way_through_json(error: Exception) -> None:
    again = WorkerFailure.model_validate_json(WorkerFailure.of(error).model_dump_json()).as_error(EvaluationFailed)
    assert (type(again), str(again)) == (type(error), str(error))


def test_a_full_disk_stays_one_and_a_stranger_becomes_the_failure_of_the_work() -> None:
    full = WorkerFailure.of(OSError(errno.ENOSPC, "No space left on device", "/store/x")).as_error(EvaluationFailed)
    assert isinstance(full, OSError) and (full.errno, full.filename) == (errno.ENOSPC, "/store/x")
    strange = WorkerFailure.of(KeyError("k")).as_error(EvaluationFailed)
    assert type(strange) is EvaluationFailed
