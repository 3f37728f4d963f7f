"""What a store holds and what of it may go: never what is pinned, in use, asked for, or what such was made from."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data_contracts.errors import ArtifactMismatch
from data_contracts.inventory import (
    find_artifacts,
    list_store,
    needed_by,
    pin,
    removable,
    remove,
    with_inputs,
)
from data_contracts.store import ArtifactRef, ArtifactStore
from data_contracts.transfer import transfer
from tests.artifacts import finish, recorded

LONG_AGO = 1_000_000_000.0
BEFORE = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def refs(store: ArtifactStore) -> tuple[ArtifactRef, ...]:
    """Rows, pairs made from them, a model made from the pairs, and rows that nothing was made from; all old."""
    rows = finish(store, "select", {"rows": "rows"})
    pairs = finish(store, "translate", {"pairs": "pairs!"}, inputs={"rows": recorded(store, rows)})
    model = finish(store, "train", {"model": "model"}, inputs={"rows": recorded(store, pairs)})
    alone = finish(store, "select", {"rows": "other"}, config={"seed": 1})
    for ref in (rows, pairs, model, alone):
        age(store, ref)
    return rows, pairs, model, alone


def age(store: ArtifactStore, ref: ArtifactRef) -> None:
    for path in (store.folder(ref), store.lock_path(ref)):
        os.utime(path, (LONG_AGO, LONG_AGO))


def going(store: ArtifactStore, *keep: ArtifactRef) -> set[ArtifactRef]:
    return {entry.ref for entry in removable(list_store(store), keep, BEFORE)}


def test_entries_say_size_state_age_and_inputs(store: ArtifactStore, refs: tuple[ArtifactRef, ...]) -> None:
    rows, pairs, model, _ = refs
    entries = {entry.ref: entry for entry in list_store(store)}
    assert entries.keys() == set(refs)
    manifest = (store.folder(pairs) / "manifest.json").stat().st_size
    assert (entries[pairs].bytes, entries[pairs].state) == (len("pairs!") + manifest, "finished")
    assert entries[pairs].used_at.timestamp() == LONG_AGO
    assert entries[model].inputs == (pairs,)
    assert needed_by(entries.values()) == {rows: (pairs,), pairs: (model,)}
    assert with_inputs(entries.values(), [model]) == {rows, pairs, model}


def test_old_artifacts_go_and_what_was_asked_for_stays_with_its_inputs(
    store: ArtifactStore, refs: tuple[ArtifactRef, ...]
) -> None:
    _, pairs, model, alone = refs
    assert going(store) == set(refs)
    assert going(store, pairs) == {model, alone}
    pin(store, model, pinned=True)
    assert going(store) == {alone}
    pin(store, model, pinned=False)
    assert going(store) == set(refs)
    with store.locked(pairs):  # a run asks for it, if only to find it there
        pass
    assert going(store) == {model, alone}


def test_what_is_being_made_and_its_inputs_stay(store: ArtifactStore, refs: tuple[ArtifactRef, ...]) -> None:
    rows, pairs, model, alone = refs
    making = ArtifactRef("report", "0" * 64)
    with store.locked(making):
        partial = store.open_partial(making, {"model": recorded(store, alone)}, keep=False)
        for path in (partial, store.lock_path(making)):
            os.utime(path, (LONG_AGO, LONG_AGO))
        assert {entry.ref: entry.state for entry in list_store(store)}[making] == "being made"
        assert going(store) == {rows, pairs, model}
        assert not remove(store, making)
        assert partial.is_dir()
    assert {entry.ref: entry.state for entry in list_store(store)}[making] == "left unfinished"
    assert going(store) == {*refs, making}
    assert remove(store, making)
    assert not list((store.root / "report").iterdir())


def test_a_damaged_manifest_is_listed_as_unreadable(store: ArtifactStore, refs: tuple[ArtifactRef, ...]) -> None:
    (store.folder(refs[3]) / "manifest.json").write_text("{")
    assert {entry.ref: entry.state for entry in list_store(store)}[refs[3]] == "unreadable"


def test_an_artifact_is_found_by_its_beginning(store: ArtifactStore, refs: tuple[ArtifactRef, ...]) -> None:
    rows, pairs, _, alone = refs
    entries = list_store(store)
    assert find_artifacts(entries, f"translate/{pairs.fingerprint[:6]}") == [pairs]
    assert find_artifacts(entries, rows.fingerprint) == [rows]
    assert set(find_artifacts(entries, "select")) == {rows, alone}
    for name in ("nothing", "select/", "train/zz"):
        with pytest.raises(ArtifactMismatch, match=f"'{name}' names"):
            find_artifacts(entries, name)


def test_a_store_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list_store(ArtifactStore(tmp_path / "nowhere")) == ()


def test_a_copy_is_verified_on_both_sides_and_made_once(
    store: ArtifactStore, refs: tuple[ArtifactRef, ...], tmp_path: Path
) -> None:
    rows, pairs, _, _ = refs
    other = ArtifactStore(tmp_path / "other")
    with pytest.raises(ArtifactMismatch, match="another making of its input 'rows'"):
        transfer(pairs, store, other)
    assert not other.is_there(pairs)
    assert [transfer(ref, store, other) for ref in (rows, pairs, pairs)] == [True, True, False]
    assert other.verify(pairs) == store.verify(pairs)
    (other.folder(pairs) / "pairs").write_text("damage")
    assert transfer(pairs, store, other)
    assert other.verify(pairs) == store.verify(pairs)


def test_a_damaged_artifact_is_not_copied(store: ArtifactStore, refs: tuple[ArtifactRef, ...], tmp_path: Path) -> None:
    other = ArtifactStore(tmp_path / "other")
    (store.folder(refs[0]) / "rows").write_text("damage")
    with pytest.raises(ArtifactMismatch, match="manifest says"):
        transfer(refs[0], store, other)
    assert not other.is_there(refs[0])
