"""`cc-tuning store push | fetch | verify --mirror`, and what `plan` and `status` say of a mirror."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from data_contracts.artifact_files import remove_object
from data_contracts.files import sha256_of_file, write_json
from data_contracts.manifest_file import MANIFEST
from data_contracts.store import ArtifactStore
from flows.cli import app
from tests.data_contracts.mirrored import chain, change, flipped, objects

SMALLEST = "tests/flows/smallest.yaml"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'mirror'}"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["store", *map(str, arguments)])


def said(result: Result) -> str:
    return " ".join(result.stdout.split())


def test_a_store_that_was_lost_comes_back_whole(store: ArtifactStore, url: str) -> None:
    _, translate = chain(store)
    manifest = store.verify(translate)
    pushed = call("push", "translate", "--mirror", url, "--store", store.root)
    assert pushed.exit_code == 0 and "2 artifacts pushed, 0 were there, 0 not pushed" in said(pushed)
    assert "0 artifacts pushed, 2 were there" in said(call("push", "--mirror", url, "--store", store.root))
    remove_object(store.root)
    fetched = call("fetch", f"translate/{translate.fingerprint[:8]}", "--mirror", url, "--store", store.root)
    assert fetched.exit_code == 0 and "2 artifacts fetched, 0 were there, 0 not fetched" in said(fetched)
    assert store.verify(translate) == manifest
    assert "0 artifacts fetched, 2 were there" in said(call("fetch", "--mirror", url, "--store", store.root))


def test_damage_in_a_mirror_is_named_and_not_fetched(store: ArtifactStore, url: str) -> None:
    select, translate = chain(store)
    call("push", "--mirror", url, "--store", store.root)
    assert "Every artifact of the mirror is whole." in said(call("verify", "--mirror", url))
    change(url, sha256_of_file(store.folder(select) / "rows"), flipped)
    result = call("verify", "--mirror", url)
    assert result.exit_code == 1
    assert f"select {select.fingerprint[:12]}" in said(result) and "rows is damaged" in said(result)
    assert call("verify", "translate", "--mirror", url).exit_code == 0
    sound = ArtifactStore(store.root.rename(store.root.with_name("sound")))
    result = call("fetch", "--mirror", url, "--store", store.root)
    assert result.exit_code == 1 and "0 artifacts fetched, 0 were there, 2 not fetched" in said(result)
    assert not store.is_there(select) and not store.is_there(translate)
    assert "2 artifacts pushed" in said(call("push", "--again", "--mirror", url, "--store", sound.root))
    assert call("verify", "--mirror", url).exit_code == 0


def test_a_push_without_an_end_is_told_and_is_no_fault(store: ArtifactStore, url: str) -> None:
    select, _ = chain(store)
    call("push", "select", "--mirror", url, "--store", store.root)
    change(url, f"{select.fingerprint}/{MANIFEST}", lambda content: None)
    result = call("verify", "--mirror", url)
    assert result.exit_code == 0 and "1 artifacts have no manifest" in said(result)


def test_a_damaged_artifact_is_not_pushed_and_says_so(store: ArtifactStore, url: str) -> None:
    select, _ = chain(store)
    (store.folder(select) / "rows").write_text("damag")
    result = call("push", "--mirror", url, "--store", store.root)
    assert result.exit_code == 1 and "2 not pushed" in said(result)
    assert not objects(url)


def test_plan_and_status_say_what_is_in_the_mirror_when_they_are_asked_to(tmp_path: Path, url: str) -> None:
    (world, *_) = plan_recipe(load_recipe(Path(SMALLEST)))
    # A manifest is all that is looked for; a fetch would find that it is none.
    write_json(tmp_path / "mirror" / world.stage.name / world.fingerprint / MANIFEST, {})
    places = ["--set", f"execution.store={tmp_path / 'store'}", "--set", f"execution.mirror={url}"]
    for command in ("plan", "status"):
        asked = CliRunner().invoke(app, [command, SMALLEST, "--mirror", *places])
        assert asked.stdout.count("in the mirror") == 1, asked.stdout
        assert "in the mirror" not in CliRunner().invoke(app, [command, SMALLEST, *places]).stdout
    without = CliRunner().invoke(app, ["plan", SMALLEST, "--mirror", *places[:2]])
    assert isinstance(without.exception, ConfigError) and "execution.mirror" in str(without.exception)


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_an_address_without_any_artifact_passes_neither_for_fetched_nor_for_whole(
    command: str, store: ArtifactStore, url: str
) -> None:
    result = call(command, "--mirror", url, "--store", store.root)
    assert isinstance(result.exception, ConfigError) and f"{url} has no artifact" in str(result.exception)
