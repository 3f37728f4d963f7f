"""Training goes on from a checkpoint that is whole, or from none."""

import logging
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from cc_tuning.training.job import TrainingJob
from cc_tuning.training.trainer_checkpoints import (
    MANIFEST,
    checkpoints_of,
    find_damage,
    newest_complete_checkpoint,
    remove_old_checkpoints,
    step_of,
    write_checkpoint_manifest,
)
from cc_tuning.training.worker import train
from data_contracts.fingerprint import digest_of_files
from tests.training.jobs import MakeJob
from tests.training.killed_saves import EVERY, KILLED_STEP


def _delete(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def interrupted(make_job: MakeJob) -> TrainingJob:
    """A finished run whose results are taken away again: what is left are its checkpoints of steps 8 and 12."""
    job = make_job("run", kind="cc")
    train(job)
    (job.folder / "summary.json").unlink()
    return job


DAMAGES = [
    (_delete, "is missing"),
    (_truncate, "bytes, expected"),
    (_flip_one_bit, "was changed after it was written"),
]
MANIFEST_REASONS = ["its save was not finished", "its manifest cannot be read", "its manifest cannot be read"]


def test_any_damage_to_any_file_of_the_newest_checkpoint_falls_back_to_the_one_before(
    interrupted: TrainingJob, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    trainer = interrupted.folder / "trainer"
    assert sorted(path.name for path in trainer.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-8"]
    names = sorted(str(path.relative_to(trainer / "checkpoint-12")) for path in (trainer / "checkpoint-12").rglob("*"))
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} < {*names}
    for number, (name, (damage, reason)) in enumerate(product(names, DAMAGES)):
        copy = shutil.copytree(trainer, tmp_path / f"copy{number}")
        damage(copy / "checkpoint-12" / name)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert newest_complete_checkpoint(copy) == copy / "checkpoint-8"
        assert "checkpoint of step 12 is skipped: it" in caplog.text
        if name == MANIFEST:
            assert any(known in caplog.text for known in (*MANIFEST_REASONS, "was changed", "bytes, expected"))
        else:
            assert f"its {name}" in caplog.text and reason in caplog.text
        assert "training resumes after step 8" in caplog.text
        assert [path.name for path in copy.iterdir() if path.name != "logs"] == ["checkpoint-8"]
        shutil.rmtree(copy)


def test_killed_at_any_file_operation_of_a_save_training_resumes_from_a_complete_checkpoint(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job("run", kind="cc", execution={"checkpoint_every_steps": EVERY})
    job_file = tmp_path / "job.json"
    job_file.write_text(job.model_dump_json())
    subprocess.run(
        [sys.executable, "-m", "tests.training.killed_saves", str(job_file)], cwd=Path(__file__).parents[2], check=True
    )
    folders = sorted(job.folder.glob("killed-*"), key=lambda path: int(path.name.partition("-")[2]))
    found = [newest_complete_checkpoint(folder) for folder in folders]
    steps = [step_of(checkpoint) for checkpoint in found if checkpoint]
    # Killed before the manifest has its name: the one before; after it, and while the oldest is removed: the new one.
    assert len(steps) == len(folders) > 15
    assert steps == sorted(steps) and set(steps) == {KILLED_STEP - EVERY, KILLED_STEP}
    undisturbed = make_job("undisturbed", kind="cc", execution={"checkpoint_every_steps": EVERY})
    train(undisturbed)
    expected = digest_of_files(undisturbed.folder / "checkpoint")
    for index in (0, steps.index(KILLED_STEP) - 1, len(folders) - 2):
        shutil.rmtree(job.folder / "trainer")
        folders[index].rename(job.folder / "trainer")
        train(job.model_copy(update={"resume_from": newest_complete_checkpoint(job.folder / "trainer")}))
        assert digest_of_files(job.folder / "checkpoint") == expected


def test_lost_optimizer_state_leads_to_the_same_weights(interrupted: TrainingJob) -> None:
    expected = digest_of_files(interrupted.folder / "checkpoint")
    metrics = (interrupted.folder / "metrics.jsonl").read_text().splitlines()
    (interrupted.folder / "trainer/checkpoint-12/optimizer.pt").unlink()
    resumed_from = newest_complete_checkpoint(interrupted.folder / "trainer")
    train(interrupted.model_copy(update={"resume_from": resumed_from}))
    assert digest_of_files(interrupted.folder / "checkpoint") == expected
    assert (interrupted.folder / "metrics.jsonl").read_text().splitlines()[:8] == metrics[:8]
    assert len((interrupted.folder / "metrics.jsonl").read_text().splitlines()) == len(metrics)


def test_run_killed_between_its_last_step_and_its_result_takes_no_step_again(interrupted: TrainingJob) -> None:
    expected = digest_of_files(interrupted.folder / "checkpoint")
    shutil.rmtree(interrupted.folder / "checkpoint")
    metrics = (interrupted.folder / "metrics.jsonl").read_text()
    resumed_from = newest_complete_checkpoint(interrupted.folder / "trainer")
    train(interrupted.model_copy(update={"resume_from": resumed_from}))
    assert digest_of_files(interrupted.folder / "checkpoint") == expected
    assert (interrupted.folder / "metrics.jsonl").read_text() == metrics


def test_without_a_whole_checkpoint_training_starts_anew_and_what_is_left_is_kept_until_the_next(
    interrupted: TrainingJob, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = interrupted.folder / "trainer"
    expected = digest_of_files(interrupted.folder / "checkpoint")
    for checkpoint in trainer.glob("checkpoint-*"):
        (checkpoint / "optimizer.pt").unlink()
        assert find_damage(checkpoint) == "its optimizer.pt is missing"
    assert newest_complete_checkpoint(trainer) is None
    assert "training starts at its first step" in caplog.text
    assert (trainer / "damaged-12" / "model.safetensors").is_file()
    train(interrupted)
    assert digest_of_files(interrupted.folder / "checkpoint") == expected
    assert sorted(path.name for path in trainer.iterdir() if path.is_dir()) == ["checkpoint-12", "checkpoint-8"]
    assert newest_complete_checkpoint(trainer / "absent") is None


def test_a_checkpoint_whose_optimizer_was_never_saved_is_no_checkpoint(interrupted: TrainingJob) -> None:
    checkpoint = interrupted.folder / "trainer" / "checkpoint-12"
    (checkpoint / "optimizer.pt").unlink()
    write_checkpoint_manifest(checkpoint)
    assert find_damage(checkpoint) == "it has no optimizer state"


def test_old_checkpoints_go_and_the_complete_one_stays_whatever_is_damaged(interrupted: TrainingJob) -> None:
    trainer = interrupted.folder / "trainer"
    newest = shutil.copytree(trainer / "checkpoint-12", trainer / "checkpoint-16")
    for number in (8, 12):
        (trainer / f"checkpoint-{number}" / "model.safetensors").unlink()
    remove_old_checkpoints(trainer, newest)
    assert [step_of(path) for path in checkpoints_of(trainer)] == [16, 12]
    assert newest_complete_checkpoint(trainer) == newest
