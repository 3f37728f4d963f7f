"""A manifest is what was written, and that of the step whose name its folder has; otherwise it vouches for nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import ArtifactMismatch, MadeByLaterVersion
from data_contracts.manifest_file import DIGEST, MANIFEST, read_manifest
from data_contracts.store import ArtifactRef, ArtifactStore
from tests.artifacts import finish, recorded


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def made(store: ArtifactStore) -> ArtifactRef:
    """Pairs that were made from rows."""
    rows = finish(store, "select", {"rows.parquet": "rows"}, config={"seed": 7})
    return finish(store, "translate", {"pairs.parquet": "pairs"}, {"beams": 4}, {"rows": recorded(store, rows)})


def edited(store: ArtifactStore, ref: ArtifactRef, change: Callable[[dict[str, Any]], object]) -> None:
    path = store.folder(ref) / MANIFEST
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def as_before_digests(content: dict[str, Any]) -> None:
    del content[DIGEST]


def test_every_flipped_bit_of_a_manifest_is_found(store: ArtifactStore, made: ArtifactRef) -> None:
    path = store.folder(made) / MANIFEST
    sound = path.read_bytes()
    for place in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ArtifactMismatch):
            read_manifest(path)


def test_a_blank_more_is_found(store: ArtifactStore, made: ArtifactRef) -> None:
    path = store.folder(made) / MANIFEST
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ArtifactMismatch, match="changed after it was written"):
        store.verify(made)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["rows"].update(read=2, not_selected=1),
        lambda content: content["files"].clear(),
        lambda content: content.update(label="other"),
        lambda content: content.update(seconds=0.25),
        lambda content: content["inputs"]["rows"].pop("manifest_sha256"),
        lambda content: content["files"][0].update(path="../../../etc/passwd"),
        lambda content: content["files"][0].update(path="a" * 5_000),
    ],
)
def test_an_edit_is_found_by_the_digest(
    store: ArtifactStore, made: ArtifactRef, change: Callable[[dict[str, Any]], object]
) -> None:
    edited(store, made, change)
    with pytest.raises(ArtifactMismatch, match="changed after it was written"):
        store.verify(made)


def test_a_manifest_of_before_digests_is_read(store: ArtifactStore, made: ArtifactRef) -> None:
    edited(store, made, as_before_digests)
    assert store.verify(made).label == "translate"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["config"].update(beams=1), "it was changed"),
        (lambda content: content.update(version=2), "it was changed"),
        (lambda content: content["inputs"]["rows"].update(fingerprint="0" * 64), "it was changed"),
        (lambda content: content["inputs"].clear(), "it was changed"),
        (lambda content: content["inputs"]["rows"].pop("fingerprint"), "does not say what its input 'rows' was"),
        (lambda content: content["inputs"]["rows"].pop("manifest_sha256"), "another making of its input 'rows'"),
        (lambda content: content["files"][0].update(path="a" * 5_000), r"a… \(5000 characters\) is missing"),
        (lambda content: content["files"][0].update(path="../../../etc/passwd"), "outside the artifact"),
        (lambda content: content.update(stage="select"), "put under another's name"),
    ],
)
def test_what_the_fingerprint_covers_is_checked_without_a_digest(
    store: ArtifactStore, made: ArtifactRef, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edited(store, made, lambda content: (as_before_digests(content), change(content)))
    with pytest.raises(ArtifactMismatch, match=message):
        store.verify(made)


def test_an_artifact_under_the_name_of_another_is_refused(store: ArtifactStore, made: ArtifactRef) -> None:
    other = ArtifactRef("translate", "0" * 64)
    store.folder(made).rename(store.folder(other))
    with pytest.raises(ArtifactMismatch, match="put under another's name"):
        store.verify(other)


def test_a_later_versions_manifest_is_left_alone_though_its_digest_is_unknown(
    store: ArtifactStore, made: ArtifactRef
) -> None:
    edited(store, made, lambda content: content.update(signature="of a later version"))
    with pytest.raises(MadeByLaterVersion, match=r"does not know \['signature'\]"):
        store.verify(made)


def test_an_oversized_manifest_is_not_read(store: ArtifactStore, made: ArtifactRef) -> None:
    path = store.folder(made) / MANIFEST
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # takes no disk, and would take a terabyte of memory
    with pytest.raises(ArtifactMismatch, match="it is no manifest"):
        store.verify(made)
