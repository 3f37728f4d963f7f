"""What a stage reads of the user's files is what its fingerprint was made of, or it makes nothing."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.step import Build, Outcome, Stage, Step, find_cached, run_step
from data_contracts.errors import StoreUnavailable
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactStore
from tests.artifacts import write


class Nothing(BaseModel):
    pass


def shout(build: Build[Any]) -> RowCounts:
    """A stage that goes on from the files it has finished, one for each file of its source."""
    source = build.inputs["words"].path
    for path in [source] if source.is_file() else sorted(source.iterdir()):
        target = build.folder / path.name
        if not target.exists():
            target.write_text(path.read_text() + "!")
    return RowCounts(read=1, kept=1)


def step(path: Path, function: Callable[[Build[Any]], RowCounts] = shout) -> Step:
    return Stage("shout", 1, "", function, resumable=True).step(Nothing(), words=LocalSource.of(path))


def run(planned: Step, store: ArtifactStore) -> Outcome:
    return run_step(planned, store, Execution(store=store.root, threads=1), no_progress)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    write(tmp_path / "words" / "a.txt", "habari")
    write(tmp_path / "words" / "b.txt", "dunia")
    return tmp_path / "words"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.mark.parametrize("of_folder", [False, True])
def test_a_source_that_was_edited_after_the_plan_is_refused_with_both_hashes(
    words: Path, store: ArtifactStore, of_folder: bool
) -> None:
    planned = step(words if of_folder else words / "a.txt")
    state = (words / "a.txt").stat()
    (words / "a.txt").write_text("HABARI")
    os.utime(words / "a.txt", ns=(state.st_atime_ns, state.st_mtime_ns))  # as an editor could not, and a copy can
    with pytest.raises(ConfigError, match="changed after the plan was made") as refused:
        run(planned, store)
    source = planned.inputs["words"]
    assert isinstance(source, LocalSource) and source.sha256 in str(refused.value)
    if not of_folder:
        assert hashlib.sha256(b"HABARI").hexdigest() in str(refused.value)
    assert find_cached(planned, store) is None and not store.has_partial(planned.ref)
    (words / "a.txt").write_text("habari")
    assert run(planned, store).manifest.rows.kept == 1


def test_a_source_that_is_gone_after_the_plan_says_so(words: Path, store: ArtifactStore) -> None:
    planned = step(words / "a.txt")
    (words / "a.txt").unlink()
    with pytest.raises(ConfigError, match=r"a\.txt cannot be read any more: No such file"):
        run(planned, store)


@pytest.mark.parametrize("is_undone", [False, True])
def test_what_was_made_of_a_source_that_changed_meanwhile_is_thrown_away(
    words: Path, store: ArtifactStore, is_undone: bool
) -> None:
    def edited_meanwhile(build: Build[Any]) -> RowCounts:
        (words / "a.txt").write_text("HABARI")
        counts = shout(build)
        if is_undone:
            (words / "a.txt").write_text("habari")
        return counts

    planned = step(words, edited_meanwhile)
    message = "was written to while it was read" if is_undone else "changed after the plan was made"
    with pytest.raises(ConfigError, match=message):
        run(planned, store)
    (words / "a.txt").write_text("habari")
    assert not run(step(words), store).was_cached
    assert (store.folder(planned.ref) / "a.txt").read_text() == "habari!"


def test_shards_of_a_killed_run_are_kept_only_while_nobody_wrote_to_its_source(
    words: Path, store: ArtifactStore
) -> None:
    class Killed(BaseException):
        pass

    def killed(build: Build[Any]) -> RowCounts:
        write(build.folder / "a.txt", "of the first try")
        raise Killed

    for is_written, expected in ((False, "of the first try"), (True, "habari!")):
        planned = step(words, killed)
        with pytest.raises(Killed):
            run(planned, store)
        if is_written:
            (words / "a.txt").write_text("habari")
            os.utime(words / "a.txt", ns=(0, 0))
        run(step(words), store)
        assert (store.folder(planned.ref) / "a.txt").read_text() == expected
        store.discard(planned.ref)


def test_a_plan_remembers_a_hash_only_while_the_file_is_unchanged(words: Path) -> None:
    before = LocalSource.of(words / "a.txt")
    assert LocalSource.of(words / "a.txt") == before
    (words / "a.txt").write_text("HABARI")
    assert LocalSource.of(words / "a.txt").sha256 == hashlib.sha256(b"HABARI").hexdigest()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/dev/zero", "/dev/zero is a device, expected a file or a folder"),
        ("a" * 5_000, r"… \(\d+ characters\) does not exist"),
        ("a\0b", "does not exist"),
    ],
)
def test_a_place_that_is_no_source_is_one_short_line(place: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        LocalSource.of(Path(place))
    assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


def test_a_finished_store_is_read_without_write_permission(words: Path, store: ArtifactStore) -> None:
    planned = step(words)
    run(planned, store)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _give_up_writing(store.root)
            code = 0 if run(planned, store).was_cached else 2
            try:
                run(step(words / "a.txt"), store)
                code = 3
            except StoreUnavailable:
                pass
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _give_up_writing(root: Path) -> None:
    """Become another user, or, being no superuser, take one's own permission away."""
    if os.geteuid() == 0:
        for folder in (root, *root.parents):
            if folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
        os.setuid(65534)
    else:
        for path in (root, *root.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
