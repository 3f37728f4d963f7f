"""The store: an artifact is whole, verified and made from the inputs it names, or it is not there."""

from pathlib import Path

import pytest

from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json, written_atomically
from data_contracts.manifest import Manifest, RowCounts
from data_contracts.shards import Shards
from data_contracts.store import MANIFEST, ArtifactRef, ArtifactStore, file_records

REF = ArtifactRef("select", "f" * 64)


def make(
    store: ArtifactStore, ref: ArtifactRef, text: str = "rows", inputs: dict[str, dict[str, str]] | None = None
) -> None:
    folder = store.open_partial(ref, inputs or {}, keep=False)
    (folder / "sub").mkdir()
    (folder / "sub" / "rows.txt").write_text(text)
    manifest = Manifest(
        stage=ref.stage, version=1, fingerprint=ref.fingerprint, label=ref.stage, config={}, inputs=inputs or {},
        files=file_records(folder), rows=RowCounts(read=1, kept=1), commit="unknown", versions={}, seconds=0.0,
        peak_memory_bytes=0, finished_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    store.finish(ref, manifest)


def test_a_finished_artifact_verifies(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store, REF)
    assert store.verify(REF).rows.kept == 1
    assert store.path(REF.at("sub/rows.txt")).read_text() == "rows"


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
    ],
)
def test_every_kind_of_damage_is_found_and_named(tmp_path: Path, harm, message: str) -> None:  # type: ignore[no-untyped-def]
    store = ArtifactStore(tmp_path)
    make(store, REF)
    harm(store.folder(REF))
    with pytest.raises(ArtifactMismatch, match=message):
        store.verify(REF)


def test_a_manifest_that_points_outside_its_folder_is_refused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store, REF)
    manifest = read_json(store.folder(REF) / MANIFEST)
    manifest["files"][0]["path"] = "../../../etc/passwd"
    write_json(store.folder(REF) / MANIFEST, manifest)
    with pytest.raises(ArtifactMismatch, match="outside the artifact"):
        store.verify(REF)


def test_a_symbolic_link_cannot_be_part_of_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactMismatch, match="symbolic link"):
        file_records(tmp_path)


def test_an_artifact_is_out_of_date_once_its_input_was_made_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    made_from = ArtifactRef("translate", "e" * 64)
    make(store, REF)
    recorded = {"stage": REF.stage, "fingerprint": REF.fingerprint, "manifest_sha256": store.manifest_digest(REF)}
    make(store, made_from, inputs={"rows": recorded})
    assert store.verify(made_from)
    store.withdraw(REF)
    make(store, REF, text="other rows")
    with pytest.raises(ArtifactMismatch, match="another making of its input 'rows'"):
        store.verify(made_from)


def test_withdrawn_shards_are_there_for_the_next_try(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store, REF)
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
    make(store, REF)
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
