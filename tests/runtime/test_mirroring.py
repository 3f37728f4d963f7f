"""A step with a mirror: what a lost store had comes back, what is damaged there is made and pushed again."""

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.mirroring import in_mirror
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import Build, Outcome, Stage, Step, run_step
from data_contracts.artifact_files import remove_object
from data_contracts.errors import MirrorUnavailable
from data_contracts.files import sha256_of_file
from data_contracts.manifest import RowCounts
from data_contracts.mirror import Mirror
from data_contracts.store import ArtifactStore
from tests.data_contracts.mirrored import change, flipped, objects


class Words(BaseModel):
    text: str = "habari"


def build_words(build: Build[Any]) -> RowCounts:
    """Write what the input or the config says, with a mark behind it; a file beside the store has a line a call."""
    source = build.inputs.get("words")
    text = (source.path / "words.txt").read_text() if source else build.config.text
    with (build.execution.store.parent / "made.txt").open("a") as file:
        file.write(f"{text}\n")
    (build.folder / "words.txt").write_text(text + "!")
    return RowCounts(read=1, kept=1)


FIRST = Stage("first", 1, "", build_words).step(Words())
SECOND = Stage("second", 1, "", build_words).step(Words(), words=FIRST.ref)


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    return Execution(store=tmp_path / "store", mirror=f"file://{tmp_path / 'mirror'}", threads=1)


def run(step: Step, execution: Execution) -> Outcome:
    return run_step(step, ArtifactStore(execution.store), execution, no_progress)


def made(execution: Execution) -> int:
    """How often a stage has computed."""
    return len((execution.store.parent / "made.txt").read_text().splitlines())


def test_a_lost_store_is_fetched_and_nothing_is_computed_again(execution: Execution) -> None:
    store = ArtifactStore(execution.store)
    assert [run(step, execution).was_cached for step in (FIRST, SECOND)] == [False, False]
    manifests = [store.verify(step.ref) for step in (FIRST, SECOND)]
    remove_object(execution.store)
    again = [run(step, execution) for step in (FIRST, SECOND)]
    assert [outcome.was_cached for outcome in again] == [True, True]
    assert [outcome.manifest for outcome in again] == manifests
    assert [store.verify(step.ref) for step in (FIRST, SECOND)] == manifests
    assert made(execution) == 2


def test_damage_in_the_mirror_costs_one_line_a_making_and_a_push(
    execution: Execution, caplog: pytest.LogCaptureFixture
) -> None:
    run(FIRST, execution)
    words = sha256_of_file(ArtifactStore(execution.store).path(FIRST.ref) / "words.txt")
    change(execution.mirror, words, flipped)
    remove_object(execution.store)
    with caplog.at_level(logging.WARNING):
        assert not run(FIRST, execution).was_cached
    (said,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert "made and pushed again, because in the mirror" in said and "is damaged" in said
    assert made(execution) == 2
    remove_object(execution.store)
    assert run(FIRST, execution).was_cached
    assert Mirror(execution.mirror).verify(FIRST.ref)


def test_local_damage_is_mended_from_the_mirror(execution: Execution) -> None:
    run(FIRST, execution)
    words = ArtifactStore(execution.store).path(FIRST.ref) / "words.txt"
    words.write_text("damage")
    assert run(FIRST, execution).was_cached
    assert words.read_text() == "habari!"
    assert made(execution) == 1


def test_what_was_made_without_the_mirror_is_pushed_when_it_is_found(execution: Execution) -> None:
    run(FIRST, execution.model_copy(update={"mirror": ""}))
    assert run(FIRST, execution).was_cached
    assert in_mirror([FIRST.ref, SECOND.ref], execution) == {FIRST.ref}
    before = objects(execution.mirror)
    run(FIRST, execution)
    assert objects(execution.mirror) == before


def test_what_rests_on_another_making_is_made_here_and_the_mirrors_stays(execution: Execution) -> None:
    alone = execution.model_copy(update={"mirror": "", "store": execution.store.parent / "other"})
    for step in (FIRST, SECOND):
        run(step, execution)
    run(FIRST, alone)  # at another time, so its manifest differs
    before = objects(execution.mirror)
    assert not run(SECOND, alone.model_copy(update={"mirror": execution.mirror})).was_cached
    assert objects(execution.mirror) == before


def test_a_mirror_that_cannot_be_written_costs_a_line_and_no_result(
    execution: Execution, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = execution.model_copy(update={"mirror": "file:///proc/nowhere"})
    assert not run(FIRST, nowhere).was_cached
    assert "first: not pushed to the mirror, because cannot write file:///proc/nowhere" in caplog.text
    assert ArtifactStore(execution.store).verify(FIRST.ref)


def test_a_mirror_that_cannot_be_read_stops_before_anything_is_computed(execution: Execution) -> None:
    (execution.store.parent / "mirror").write_text("a file where a folder belongs")
    with pytest.raises(MirrorUnavailable, match="cannot read"):
        run(FIRST, execution)
    assert not (execution.store.parent / "made.txt").exists()


@pytest.mark.parametrize("mirror", ["bucket", "s3://key:hunter2@bucket", "s3://bucket?token=hunter2"])
def test_a_recipe_with_a_secret_in_its_mirror_is_refused(mirror: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Execution(mirror=mirror)
    assert "hunter2" not in refused.value.errors()[0]["msg"]
