"""Training goes on from a checkpoint that is whole, or from none."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_tuning.training.checkpoints import find_damage, newest_complete_checkpoint
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.worker import train
from data_contracts.fingerprint import digest_of_files

MakeJob = Callable[..., TrainingJob]


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
    job = make_job("run", method="cc")
    train(job)
    (job.folder / "summary.json").unlink()
    return job


DAMAGES = [
    ("optimizer.pt", _delete, "its optimizer.pt is missing"),
    ("model.safetensors", _truncate, "bytes, expected"),
    ("scheduler.pt", _flip_one_bit, "was changed after it was written"),
    ("rng_state.pth", _delete, "its rng_state.pth is missing"),
    ("checkpoint_manifest.json", _delete, "its save was not finished"),
    ("checkpoint_manifest.json", _truncate, "its manifest cannot be read"),
]


def test_any_damage_to_the_newest_checkpoint_falls_back_to_the_one_before(
    interrupted: TrainingJob, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    trainer = interrupted.folder / "trainer"
    assert sorted(path.name for path in trainer.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-8"]
    for number, (name, damage, reason) in enumerate(DAMAGES):
        copy = shutil.copytree(trainer, tmp_path / f"copy{number}")
        damage(copy / "checkpoint-12" / name)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert newest_complete_checkpoint(copy) == copy / "checkpoint-8"
        assert "checkpoint of step 12 is skipped" in caplog.text and reason in caplog.text
        assert not (copy / "checkpoint-12").exists()


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


def test_without_a_whole_checkpoint_training_starts_anew(interrupted: TrainingJob) -> None:
    trainer = interrupted.folder / "trainer"
    for checkpoint in trainer.glob("checkpoint-*"):
        (checkpoint / "optimizer.pt").unlink()
        assert find_damage(checkpoint) == "its optimizer.pt is missing"
    assert newest_complete_checkpoint(trainer) is None
    assert newest_complete_checkpoint(trainer / "absent") is None
