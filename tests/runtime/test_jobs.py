"""Jobs, their shards and their failures, as they pass between processes."""

import errno
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from cc_tuning.errors import ConfigError, EvaluationFailed, UnsupportedModel
from cc_tuning.runtime.execution import Execution, WorkerCount
from cc_tuning.runtime.jobs import Job, MakeShard, Say, Shard, Work, WorkerFailure
from cc_tuning.runtime.threads import in_threads
from cc_tuning.runtime.workers import run_here, run_job
from data_contracts.errors import ArtifactMismatch


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
