"""`cc-tuning store`: what is said is what is there, and nothing goes that was not asked to."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cc_tuning.errors import ConfigError
from data_contracts.store import ArtifactRef, ArtifactStore
from flows.cli import app
from tests.artifacts import finish, recorded


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def pairs(store: ArtifactStore) -> ArtifactRef:
    rows = finish(store, "select", {"rows": "rows"})
    return finish(store, "translate", {"pairs": "pairs"}, inputs={"rows": recorded(store, rows)})


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["store", *map(str, arguments)])


def test_ls_lists_each_artifact_and_who_needs_it(store: ArtifactStore, pairs: ArtifactRef) -> None:
    lines = call("ls", "--json", "--store", store.root).stdout.splitlines()
    listed = {line["stage"]: line for line in map(json.loads, lines)}
    assert listed.keys() == {"select", "translate"}
    assert listed["select"]["needed_by"] == [pairs.identity]
    assert listed["translate"]["state"] == "finished"
    table = call("ls", "--store", store.root).stdout
    assert pairs.fingerprint[:12] in table and "2 artifacts" in table


def test_verify_names_what_is_damaged_and_exits_with_1(store: ArtifactStore, pairs: ArtifactRef) -> None:
    assert call("verify", "--store", store.root).exit_code == 0
    (store.folder(pairs) / "pairs").write_text("damag")
    result = call("verify", "--store", store.root)
    assert result.exit_code == 1
    assert f"translate {pairs.fingerprint[:12]}" in result.stdout and "is damaged" in result.stdout
    assert call("verify", "select", "--store", store.root).exit_code == 0


def test_gc_lists_first_removes_with_yes_and_leaves_what_is_pinned(store: ArtifactStore, pairs: ArtifactRef) -> None:
    alone = finish(store, "select", {"rows": "other"}, config={"seed": 1})
    assert call("pin", "translate", "--store", store.root).exit_code == 0
    listed = call("gc", "--older-than", 0, "--store", store.root)
    assert alone.fingerprint[:12] in listed.stdout and pairs.fingerprint[:12] not in listed.stdout
    assert store.is_there(alone)
    assert call("gc", "--older-than", 0, "--yes", "--store", store.root).exit_code == 0
    assert not store.is_there(alone)
    assert store.verify(pairs)
    assert "0 kB" in call("gc", "--yes", "--store", store.root).stdout
    call("pin", "--remove", "translate", "--store", store.root)
    call("gc", "--older-than", 0, "--yes", "--store", store.root)
    assert not store.is_there(pairs)


def test_an_export_and_its_import_are_the_same(store: ArtifactStore, pairs: ArtifactRef, tmp_path: Path) -> None:
    assert "2 artifacts copied" in call("export", tmp_path / "out", "translate", "--store", store.root).stdout
    again = call("import", tmp_path / "out", "--store", tmp_path / "new")
    assert "2 artifacts copied, 0 were there, 0 not copied" in again.stdout
    assert ArtifactStore(tmp_path / "new").verify(pairs) == store.verify(pairs)
    (tmp_path / "out" / "select").rename(tmp_path / "out" / ".gone")
    result = call("import", tmp_path / "out", "--store", tmp_path / "third")
    assert result.exit_code == 1 and "2 not copied" in result.stdout
    assert not ArtifactStore(tmp_path / "third").is_there(pairs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("ls",), "is no store; check --store"), (("pin",), "name the artifacts to pin")],
)
def test_a_mistake_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments, "--store", tmp_path / "nowhere")
    assert isinstance(result.exception, ConfigError) and message in str(result.exception)
