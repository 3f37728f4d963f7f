"""A mirror: what comes back is what went there or nothing, whoever else pushes and whatever happens there."""

import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from data_contracts.errors import ArtifactMismatch, MadeByLaterVersion, MirrorUnavailable, OtherMaking
from data_contracts.files import json_text, sha256_of_file
from data_contracts.manifest_file import MANIFEST, write_manifest
from data_contracts.mirror import Mirror
from data_contracts.object_store import ObjectStore
from data_contracts.store import ArtifactRef, ArtifactStore
from tests.artifacts import finish, ref_of
from tests.data_contracts.mirrored import chain, change, fetch, flipped, objects, pushing
from tests.watching import wait_until


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path / 'mirror'}"
        return
    place = f"memory://{uuid.uuid4().hex}"
    yield place
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def mirror(url: str) -> Mirror:
    return Mirror(url)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def other(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "other")


def test_what_was_pushed_comes_back_byte_for_byte(mirror: Mirror, store: ArtifactStore, other: ArtifactStore) -> None:
    refs = chain(store)
    assert [mirror.push(ref, store) for ref in refs] == [True, True]
    assert [fetch(mirror, ref, other) for ref in refs] == [True, True]
    for ref in refs:
        assert other.verify(ref) == store.verify(ref) == mirror.verify(ref)
        assert other.manifest_digest(ref) == store.manifest_digest(ref)
    names = {path.name for path in other.root.glob("*/*")}
    assert names == {name for ref in refs for name in (ref.fingerprint, f"{ref.fingerprint}.lock")}
    assert not fetch(mirror, refs[0], other)


def test_what_a_mirror_lacks_is_not_fetched(mirror: Mirror, store: ArtifactStore) -> None:
    assert not mirror.is_there(ref_of("select"))
    assert not fetch(mirror, ref_of("select"), store)
    assert mirror.entries() == ()


def test_a_second_push_uploads_nothing(url: str, mirror: Mirror, store: ArtifactStore) -> None:
    select, _ = chain(store)
    mirror.push(select, store)
    before = objects(url)
    assert not mirror.push(select, store)
    assert objects(url) == before
    assert len(before) == 3  # two files have the same contents


def test_a_damaged_artifact_is_not_pushed(url: str, mirror: Mirror, store: ArtifactStore) -> None:
    select, _ = chain(store)
    (store.folder(select) / "rows").write_text("damage")
    with pytest.raises(ArtifactMismatch, match="its manifest says"):
        mirror.push(select, store)
    assert not objects(url)


@pytest.mark.parametrize(
    ("what", "by", "message"),
    [
        ("rows", flipped, "is damaged"),
        ("rows", lambda content: content + b"!", "has 5 bytes, its manifest says 4"),
        ("rows", lambda content: None, "rows is missing"),
        (MANIFEST, flipped, MANIFEST),
        (MANIFEST, lambda content: content.replace(b'"label": "select"', b'"label": "forged"'), "was changed after"),
        (MANIFEST, lambda content: b"[" * 100_000, "is not JSON"),
        (MANIFEST, lambda content: b"\xff" + content, "is not UTF-8"),
        (MANIFEST, lambda content: b"", "is not JSON"),
    ],
)
def test_damage_in_the_mirror_is_found_named_and_mended_by_the_next_push(  # type: ignore[no-untyped-def]
    url: str, mirror: Mirror, store: ArtifactStore, other: ArtifactStore, what: str, by, message: str
) -> None:
    select, _ = chain(store)
    mirror.push(select, store)
    sound = objects(url)
    change(url, sha256_of_file(store.folder(select) / "rows") if what == "rows" else what, by)
    for look in (mirror.verify, lambda ref: fetch(mirror, ref, other)):
        with pytest.raises(ArtifactMismatch, match=message):
            look(select)
    assert not other.is_there(select)
    mirror.push(select, store, again=True)
    assert objects(url) == sound
    assert fetch(mirror, select, other)


def test_an_artifact_under_the_name_of_another_is_refused(
    url: str, mirror: Mirror, store: ArtifactStore, other: ArtifactStore
) -> None:
    select, _ = chain(store)
    mirror.push(select, store)
    files, root = fsspec.core.url_to_fs(url)
    wrong = ref_of("select", {"seed": 5})
    for name in files.find(root):
        copy = name.replace(select.fingerprint, wrong.fingerprint)
        files.makedirs(copy.rpartition("/")[0], exist_ok=True)
        files.cp_file(name, copy)
    with pytest.raises(ArtifactMismatch, match="put under another's name"):
        fetch(mirror, wrong, other)


def test_two_who_push_two_makings_never_mix_their_files(
    url: str, mirror: Mirror, store: ArtifactStore, other: ArtifactStore, tmp_path: Path
) -> None:
    select, _ = chain(store)
    chain(other, "other rows")
    mirror.push(select, store)
    change(url, MANIFEST, lambda content: None)  # as a push that was killed leaves it
    assert mirror.push(select, other)
    assert not mirror.push(select, store)  # a whole one stays
    third = ArtifactStore(tmp_path / "third")
    assert fetch(mirror, select, third)
    assert third.verify(select) == other.verify(select)


def test_what_fits_other_inputs_is_neither_fetched_nor_pushed(
    mirror: Mirror, store: ArtifactStore, other: ArtifactStore
) -> None:
    select, translate = chain(store)
    with pytest.raises(OtherMaking, match="holds no input 'rows'"):
        mirror.push(translate, store)
    for ref in (select, translate):
        mirror.push(ref, store)
    chain(other, "other rows")
    assert not mirror.push(select, other)
    assert not mirror.push(translate, other)
    assert mirror.verify(translate) == store.verify(translate)
    other.discard(translate)
    with pytest.raises(OtherMaking, match="another making of its input 'rows'"):
        fetch(mirror, translate, other)


def test_an_artifact_is_replaced_once_its_input_in_the_mirror_is_another_making(
    mirror: Mirror, store: ArtifactStore, other: ArtifactStore
) -> None:
    refs = chain(store)
    for ref in refs:
        mirror.push(ref, store)
    chain(other, "other rows")
    mirror.push(refs[0], other, again=True)
    with pytest.raises(OtherMaking):
        mirror.verify(refs[1])
    assert mirror.push(refs[1], other)
    assert mirror.verify(refs[1]) == other.verify(refs[1])


@pytest.mark.parametrize(
    "record", [{"path": "../../../outside"}, {"path": "/outside"}, {"path": "a" * 300}, {"path": "a\0b"}, {"path": ""},
               {"sha256": "../../../outside"}],
)  # fmt: skip
def test_a_manifest_that_leads_out_of_its_folder_is_refused(
    url: str, mirror: Mirror, store: ArtifactStore, other: ArtifactStore, tmp_path: Path, record: dict[str, str]
) -> None:
    select, _ = chain(store)
    mirror.push(select, store)
    manifest = store.verify(select)
    lying = manifest.files[0].model_copy(update=record)
    write_manifest(tmp_path, manifest.model_copy(update={"files": [lying, *manifest.files[1:]]}))
    change(url, MANIFEST, lambda content: (tmp_path / MANIFEST).read_bytes())
    with pytest.raises(ArtifactMismatch):
        fetch(mirror, select, other)
    assert not other.is_there(select)
    assert not list(tmp_path.rglob("outside"))


def test_what_a_later_version_wrote_is_left_alone(url: str, mirror: Mirror, store: ArtifactStore) -> None:
    select, _ = chain(store)
    mirror.push(select, store)
    change(url, MANIFEST, lambda content: json_text(json.loads(content) | {"later": 1}).encode())
    before = objects(url)
    with pytest.raises(MadeByLaterVersion):
        mirror.push(select, store)
    assert objects(url) == before


def test_a_fetch_goes_on_with_the_files_it_had(
    url: str, mirror: Mirror, store: ArtifactStore, other: ArtifactStore
) -> None:
    select, _ = chain(store)
    mirror.push(select, store)
    with other.locked(select):
        (other.open_received(select) / "rows").write_text("rows")
        (other.open_received(select) / "of an earlier making").write_text("x")
    change(url, sha256_of_file(store.folder(select) / "rows"), flipped)  # it is not asked for again
    assert fetch(mirror, select, other)
    assert other.verify(select) == store.verify(select)


def test_a_fetch_that_fails_leaves_what_a_killed_run_had_made(
    url: str, mirror: Mirror, store: ArtifactStore, other: ArtifactStore
) -> None:
    select, _ = chain(store)
    mirror.push(select, store)
    with other.locked(select):
        (other.open_partial(select, {}, keep=True) / "shard").write_text("made so far")
    change(url, sha256_of_file(store.folder(select) / "rows"), flipped)
    with pytest.raises(ArtifactMismatch):
        fetch(mirror, select, other)
    assert (other.open_partial(select, {}, keep=True) / "shard").read_text() == "made so far"
    mirror.push(select, store, again=True)
    assert fetch(mirror, select, other)
    assert not other.has_partial(select)


def test_a_mirror_lists_what_it_holds_and_what_was_left_unfinished(
    url: str, mirror: Mirror, store: ArtifactStore
) -> None:
    select, translate = chain(store)
    for ref in (select, translate):
        mirror.push(ref, store)
    entries = {entry.ref: entry for entry in mirror.entries()}
    assert entries.keys() == {select, translate}
    assert (entries[translate].state, entries[translate].inputs) == ("finished", (select,))
    change(url, f"{select.fingerprint}/{MANIFEST}", lambda content: None)
    change(url, f"{translate.fingerprint}/{MANIFEST}", flipped)
    assert {entry.ref: entry.state for entry in mirror.entries()} == {
        select: "left unfinished", translate: "unreadable",
    }  # fmt: skip


@pytest.mark.parametrize("seen", [1, 2, 4, 6])
def test_a_push_that_is_killed_leaves_nothing_that_counts(
    store: ArtifactStore, other: ArtifactStore, tmp_path: Path, seen: int
) -> None:
    url = f"file://{tmp_path / 'mirror'}"
    ref = finish(store, "train", {f"weights-{i}": chr(97 + i) * (8 << 20) for i in range(6)})
    process = pushing(url, store, ref)
    wait_until(lambda: sum(1 for _ in (tmp_path / "mirror").rglob("*") if _.is_file()) >= seen or process.poll() == 0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    mirror = Mirror(url)
    if mirror.is_there(ref):  # it had come to its end
        assert mirror.verify(ref)
    else:
        assert not fetch(mirror, ref, other)
    for path in (tmp_path / "mirror").rglob("*"):
        assert not path.is_file() or path.name in (MANIFEST, sha256_of_file(path)) or path.suffix == ".tmp"
    mirror.push(ref, store)
    assert fetch(mirror, ref, other)
    assert other.verify(ref) == store.verify(ref)


def test_two_processes_that_push_at_once_do_no_harm(store: ArtifactStore, other: ArtifactStore, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'mirror'}"
    files = {f"weights-{i}": chr(97 + i) * (1 << 20) for i in range(6)}
    ref = finish(store, "train", files)
    finish(other, "train", {name: text.upper() for name, text in files.items()})
    processes = [pushing(url, each, ref) for each in (store, other, store, other)]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    third = ArtifactStore(tmp_path / "third")
    assert fetch(Mirror(url), ref, third)
    assert third.verify(ref) in (store.verify(ref), other.verify(ref))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("bucket/prefix", "a mirror is a URL"),
        ("/folder", "a mirror is a URL"),
        ("s3://key:hunter2@bucket", "no password"),
        ("sftp://user:hunter2@host/folder", "no password"),
        ("abfs://container/x?sig=hunter2", "no query"),
        ("s3://bucket/simplecache::file://hunter2", "one URL"),
        ("nosuchscheme://bucket", "no place that fsspec knows"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_and_the_secret_not_repeated(
    address: str, message: str
) -> None:
    with pytest.raises(MirrorUnavailable, match=message) as refused:
        ObjectStore(address)
    assert "hunter2" not in str(refused.value)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as where it is not installed
    with pytest.raises(MirrorUnavailable, match=r"install the extra `mirror`"):
        ObjectStore("gs://bucket/prefix")


def test_a_mirror_that_cannot_be_written_says_what_to_do(store: ArtifactStore) -> None:
    select, _ = chain(store)
    with pytest.raises(MirrorUnavailable, match=r"cannot write file:///proc/nowhere .*execution\.mirror="):
        Mirror("file:///proc/nowhere").push(select, store)


def test_a_full_local_disk_is_not_the_mirrors_fault(store: ArtifactStore, tmp_path: Path) -> None:
    select, _ = chain(store)
    url = f"file://{tmp_path / 'mirror'}"
    Mirror(url).push(select, store)
    name = f"{select.stage}/{select.fingerprint}/{sha256_of_file(store.folder(select) / 'rows')}"
    with pytest.raises(OSError, match="No space left"):
        ObjectStore(url).get(name, Path("/dev/full"))


def test_a_reference_in_a_folder_that_is_not_there_is_no_artifact(mirror: Mirror) -> None:
    with pytest.raises(ArtifactMismatch, match="did not end"):
        mirror.verify(ArtifactRef("select", "0" * 64))
