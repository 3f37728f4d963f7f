"""A step: made once, found afterwards, made again when anything it rests on has changed."""

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress, throttled
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.step import Build, Outcome, Stage, Step, run_step
from data_contracts.errors import ArtifactMismatch, StoreUnavailable
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactStore


class Words(BaseModel):
    text: str = "habari"


def build_words(build: Build[Any]) -> RowCounts:
    source = build.inputs.get("words")
    text = (source.path / "words.txt").read_text() if source else build.config.text
    (build.folder / "words.txt").write_text(text + "!")
    return RowCounts(read=1, kept=1)


def first(text: str = "habari") -> Step:
    return Stage("first", 1, "", build_words).step(Words(text=text))


def second(step: Step) -> Step:
    return Stage("second", 1, "", build_words).step(Words(), words=step.ref)


def run(step: Step, folder: Path) -> Outcome:
    return run_step(step, ArtifactStore(folder), Execution(store=folder, threads=1), no_progress)


def test_a_step_is_made_once_and_found_afterwards(tmp_path: Path) -> None:
    assert not run(first(), tmp_path).was_cached
    assert run(first(), tmp_path).was_cached
    assert not run(first("jambo"), tmp_path).was_cached


def test_execution_is_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    run(first(), tmp_path)
    elsewhere = Execution(store=tmp_path, threads=7, device="cpu", processes=3)
    assert run_step(first(), ArtifactStore(tmp_path), elsewhere, no_progress).was_cached


def test_damage_remakes_the_step_and_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    start, other = first(), first("jambo")
    for step in (start, other, second(start), second(other)):
        run(step, tmp_path)
    (store.folder(start.ref) / "words.txt").write_text("damaged")
    cached = [run(step, tmp_path).was_cached for step in (start, other, second(start), second(other))]
    assert cached == [False, True, False, True]
    assert (store.folder(second(start).ref) / "words.txt").read_text() == "habari!!"


def test_a_missing_input_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMismatch, match=r"manifest\.json is missing"):
        run(second(first()), tmp_path)


def test_a_local_source_is_known_by_its_contents_not_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "b.csv").write_text("x")
    steps = [
        Stage("first", 1, "", build_words).step(Words(), file=LocalSource.of(tmp_path / name))
        for name in ("a.csv", "b.csv")
    ]
    assert steps[0].fingerprint == steps[1].fingerprint
    with pytest.raises(ConfigError, match=r"c\.csv does not exist"):
        LocalSource.of(tmp_path / "c.csv")


def _slow(build: Build[Any]) -> RowCounts:
    with (build.folder.parent / "made.txt").open("a") as file:
        file.write("x")
    time.sleep(0.8)
    (build.folder / "out.txt").write_text("x")
    return RowCounts(read=1, kept=1)


def _run_slow(folder: Path) -> None:
    run(Stage("slow", 1, "", _slow).step(Words()), folder)


def test_two_runs_at_once_compute_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run_slow, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "slow" / "made.txt").read_text() == "x"


def test_a_killed_holder_leaves_no_lock_and_no_finished_artifact(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_run_slow, args=(tmp_path,))
    process.start()
    while not (tmp_path / "slow" / "made.txt").exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _run_slow(tmp_path)
    assert (tmp_path / "slow" / "made.txt").read_text() == "xx"
    assert run(Stage("slow", 1, "", _slow).step(Words()), tmp_path).was_cached


def _count_up(build: Build[Any]) -> RowCounts:
    with (build.folder / "tries.txt").open("a") as file:
        file.write("x")
    if not (build.folder / "go").exists():
        (build.folder / "go").write_text("")
        raise OSError(28, "No space left on device", str(build.folder / "out"))
    return RowCounts(read=1, kept=1)


@pytest.mark.parametrize(("resumable", "tries"), [(True, "xx"), (False, None)])
def test_a_full_disk_is_said_and_only_a_resumable_stage_goes_on(
    tmp_path: Path, resumable: bool, tries: str | None
) -> None:
    step = Stage("full", 1, "", _count_up, resumable=resumable).step(Words())
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        run(step, tmp_path)
    if tries is None:
        with pytest.raises(StoreUnavailable):
            run(step, tmp_path)
    else:
        run(step, tmp_path)
        assert (ArtifactStore(tmp_path).folder(step.ref) / "tries.txt").read_text() == tries


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_store_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(StoreUnavailable, match=r"execution\.store"):
            run(first(), tmp_path / "store")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_store_that_is_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreUnavailable, match=r"execution\.store"):
        run(first(), tmp_path / "store")


def test_progress_is_told_at_the_end_and_not_for_every_row() -> None:
    lines: list[str] = []
    progress = throttled(lines.append, seconds_between_lines=60)
    for done in range(1, 101):
        progress(done, 100, "rows")
    assert len(lines) == 1
    assert lines[0].startswith("100/100 rows")


def test_an_artifact_of_an_earlier_version_is_left_alone_and_found_where_it_still_fits(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    earlier = run(first(), tmp_path)
    later = Stage("first", 2, "", build_words).step(Words())
    assert not run(later, tmp_path).was_cached
    assert store.verify(earlier.ref).fingerprint == earlier.ref.fingerprint
    assert run(first(), tmp_path).was_cached


def test_a_stage_named_by_a_string_is_imported_when_it_runs(tmp_path: Path) -> None:
    named = Stage("first", 1, "", f"{__name__}:build_words").step(Words())
    assert named.fingerprint == first().fingerprint
    assert run(named, tmp_path).manifest.rows.kept == 1
