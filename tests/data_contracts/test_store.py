"""The store: an artifact is whole, verified and made from the inputs it names, or it is not there."""

import fcntl
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.artifact_files import file_records, remove_object
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import written_atomically
from data_contracts.locks import is_held
from data_contracts.manifest import RowCounts
from data_contracts.manifest_file import MANIFEST
from data_contracts.shards import Shards
from data_contracts.store import ArtifactStore
from tests.artifacts import finish, recorded, ref_of
from tests.watching import wait_until

REF = ref_of("select")


def make(store: ArtifactStore, text: str = "rows") -> None:
    finish(store, "select", {"sub/rows.txt": text})


def test_a_finished_artifact_verifies(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store)
    assert store.verify(REF).rows.kept == 1
    assert store.path(REF.at("sub/rows.txt")).read_text() == "rows"


def _in_its_place(path: Path, make_other: Callable[[Path], object]) -> None:
    remove_object(path)
    make_other(path)


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "sub" / "rows.txt").unlink(), "is missing"),
        (lambda folder: (folder / "sub" / "rows.txt").write_text("row"), "3 bytes, its manifest says 4"),
        (lambda folder: _flip_a_bit(folder / "sub" / "rows.txt"), "is damaged"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "is not JSON"),
        (lambda folder: (folder / MANIFEST).write_text("{}"), "not a manifest"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), "is not JSON"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff"), "is not UTF-8"),
        (lambda folder: _in_its_place(folder / MANIFEST, Path.mkdir), "is a folder, expected a file"),
        (lambda folder: _in_its_place(folder / MANIFEST, os.mkfifo), "is a FIFO, expected a file"),
        (lambda folder: _in_its_place(folder / "sub" / "rows.txt", os.mkfifo), "is a FIFO, expected a file"),
        (lambda folder: (folder / "sub" / "more.txt").write_text("x"), "its manifest does not list"),
        (lambda folder: (folder / "more").symlink_to("/etc"), "is a symbolic link that its manifest does not list"),
        (lambda folder: _in_its_place(folder, Path.touch), "is a file, expected a folder"),
        (lambda folder: _in_its_place(folder, lambda path: path.symlink_to("/etc")), "is a symbolic link, expected"),
    ],
)
def test_every_kind_of_damage_is_found_and_named(tmp_path: Path, harm, message: str) -> None:  # type: ignore[no-untyped-def]
    store = ArtifactStore(tmp_path)
    make(store)
    harm(store.folder(REF))
    with pytest.raises(ArtifactMismatch, match=message):
        store.verify(REF)


def test_a_symbolic_link_cannot_be_part_of_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactMismatch, match="symbolic link"):
        file_records(tmp_path)


def test_an_artifact_is_out_of_date_once_its_input_was_made_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store)
    made_from = finish(store, "translate", {"pairs.txt": "pairs"}, inputs={"rows": recorded(store, REF)})
    assert store.verify(made_from)
    store.withdraw(REF)
    make(store, text="other rows")
    with pytest.raises(ArtifactMismatch, match="another making of its input 'rows'"):
        store.verify(made_from)


def test_withdrawn_shards_are_there_for_the_next_try(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store)
    store.withdraw(REF)
    assert not store.folder(REF).exists()
    assert (store.open_partial(REF, {}, keep=True) / "sub" / "rows.txt").read_text() == "rows"
    assert not list(store.open_partial(REF, {}, keep=False).iterdir())


def test_shards_made_from_another_making_of_an_input_are_not_kept(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    first, second = {"rows": {"manifest_sha256": "1"}}, {"rows": {"manifest_sha256": "2"}}
    (store.open_partial(REF, first, keep=True) / "shard").write_text("from the first")
    assert list(store.open_partial(REF, first, keep=True).iterdir())
    assert not list(store.open_partial(REF, second, keep=True).iterdir())


def test_a_withdrawn_artifact_without_its_manifest_starts_from_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store)
    (store.folder(REF) / MANIFEST).unlink()
    store.withdraw(REF)
    assert not list(store.open_partial(REF, {}, keep=True).iterdir())


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_atomically(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_row_counts_that_do_not_add_up_are_refused() -> None:
    assert RowCounts(read=5, kept=2, quarantined={"empty": 1}, not_selected=2).read == 5
    with pytest.raises(ValueError, match="do not add up"):
        RowCounts(read=5, kept=2, quarantined={"empty": 1})


def test_a_shard_counts_only_while_it_is_the_file_its_marker_was_written_for(tmp_path: Path) -> None:
    shards = Shards(tmp_path)
    name = "spa_Latn/0-64.parquet"
    shards.path(name).parent.mkdir()
    shards.path(name).write_text("rows")
    assert not shards.is_done(name)
    shards.mark_done(name, rows=64)
    assert shards.is_done(name)
    assert shards.facts(name) == {"rows": 64}
    shards.path(name).write_text("rowz")
    assert not shards.is_done(name)


def test_withdrawing_keeps_only_what_the_artifact_lists(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store)
    (store.folder(REF) / "sub" / "planted.txt").write_text("x")
    (store.folder(REF) / ".hidden").write_text("x")
    store.withdraw(REF)
    partial = store.open_partial(REF, {}, keep=True)
    assert [path.name for path in partial.rglob("*")] == ["sub", "rows.txt"]


def test_nothing_of_another_steps_artifact_is_kept(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    other = finish(store, "select", {"rows.txt": "other rows"}, config={"seed": 2})
    store.folder(other).rename(store.folder(REF))
    store.withdraw(REF)
    assert not list(store.open_partial(REF, {}, keep=True).iterdir())


def test_a_link_in_the_place_of_an_artifact_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    make(store)
    elsewhere = tmp_path / "elsewhere"
    store.folder(REF).rename(elsewhere)
    store.folder(REF).symlink_to(elsewhere)
    store.withdraw(REF)
    assert not store.is_there(REF)
    assert (elsewhere / "sub" / "rows.txt").read_text() == "rows"


@pytest.mark.parametrize("suffix", [".partial", ".partial.json", ".lock"])
@pytest.mark.parametrize("make_other", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/nowhere")])
def test_odd_objects_in_the_places_of_the_store_are_replaced(
    tmp_path: Path, suffix: str, make_other: Callable[[Path], object]
) -> None:
    store = ArtifactStore(tmp_path)
    place = store.folder(REF).with_name(REF.fingerprint + suffix)
    place.parent.mkdir()
    make_other(place)
    make(store)
    assert store.verify(REF).rows.kept == 1


def test_a_lock_says_whether_it_is_held(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    assert not is_held(store.lock_path(REF))
    with store.locked(REF):
        assert is_held(store.lock_path(REF))
    assert not is_held(store.lock_path(REF))


def _hold(root: Path, go: Path, entered: Path) -> None:
    wait_until(go.exists)
    with ArtifactStore(root).locked(REF):
        entered.touch()


def test_who_waited_at_a_lock_that_was_removed_takes_the_new_one(tmp_path: Path) -> None:
    store, go, entered = ArtifactStore(tmp_path / "store"), tmp_path / "go", tmp_path / "entered"
    waiting = multiprocessing.get_context("fork").Process(target=_hold, args=(store.root, go, entered))
    waiting.start()  # before the lock is held, which a forked process would share
    with store.locked(REF):
        go.touch()
        wait_until(lambda: _waits(waiting))
        store.lock_path(REF).unlink()
        other = store.lock_path(REF)
        descriptor = os.open(other, os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    wait_until(lambda: _waits(waiting))
    assert not entered.exists()
    os.close(descriptor)
    waiting.join(120)
    assert entered.exists()


def _waits(process: multiprocessing.process.BaseProcess) -> bool:
    """Whether a process stands at a lock of a file."""
    return f" {process.pid} " in "".join(
        line for line in Path("/proc/locks").read_text().splitlines(keepends=True) if "->" in line
    )
