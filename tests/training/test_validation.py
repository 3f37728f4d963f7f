"""Held-out rows: which they are, the loss over them, and the checkpoint that is kept for it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cc_tuning.errors import ConfigError, TrainingFailed
from cc_tuning.model import checkpoint
from cc_tuning.model.connection import load_checkpoint
from cc_tuning.training import config as training_config
from cc_tuning.training import run
from cc_tuning.training.config import TrainConfig, TrainingConfig
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.metrics import read_metrics
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.objectives.table import OBJECTIVES
from cc_tuning.training.parquet_rows import read_rows
from cc_tuning.training.trainer import LengthGroupedTrainer
from cc_tuning.training.trainer_checkpoints import (
    checkpoint_of_step,
    checkpoints_of,
    newest_complete_checkpoint,
    remove_old_checkpoints,
    step_of,
)
from cc_tuning.training.validation import held_out_indices, split_rows, validation_steps
from cc_tuning.training.worker import train
from data_contracts.files import read_json, sha256_of_file, write_json
from data_contracts.fingerprint import digest_of_files
from tests.training.held_out import (
    BEST,
    FRACTION,
    HELD_OUT,
    ROWS,
    STEPS,
    TURNING,
    slow_loss,
    validation_losses,
    with_turning_rows,
)
from tests.training.jobs import MakeJob, needs_peft, write_rows

LORA = {"rank": 4, "dropout": 0.3, "target_modules": ["lm_head"]}


@pytest.fixture
def make_turning(make_job: MakeJob) -> MakeJob:
    """`make_job`, for runs that are at their best after step `BEST`."""

    def make(name: str, kind: str, execution: dict[str, object] | None = None, **training: object) -> TrainingJob:
        return with_turning_rows(make_job(name, kind, execution, **(TURNING | training)))

    return make


# -- which rows, which steps


def test_held_out_rows_are_a_function_of_seed_and_row_id_and_not_of_their_order() -> None:
    row_ids = [f"r{i}" for i in range(200)]
    chosen = {row_ids[index] for index in held_out_indices(row_ids, 0.1, seed=3)}
    backwards = row_ids[::-1]
    assert {backwards[index] for index in held_out_indices(backwards, 0.1, seed=3)} == chosen
    assert len(chosen) == 20
    assert {row_ids[index] for index in held_out_indices(row_ids, 0.1, seed=4)} != chosen
    assert chosen < {row_ids[index] for index in held_out_indices(row_ids, 0.2, seed=3)}


def test_a_split_has_every_row_once_with_its_lengths(make_job: MakeJob) -> None:
    rows = read_rows(make_job("run").rows, SupervisedFineTuning.contract)
    training, held_out = split_rows(rows, FRACTION, seed=0)
    assert held_out is not None
    assert sorted([*training.row_ids, *held_out.row_ids]) == sorted(rows.row_ids)
    for part in (training, held_out):
        for index, row_id in enumerate(part.row_ids):
            assert part[index]["row_id"] == row_id
            assert part.lengths[index].tolist() == [len(part[index]["input_ids"])]
            assert part.english_lengths[index] == len(part[index]["english_input_ids"])
    whole = split_rows(rows, 0.0, seed=0)
    assert whole.training is rows and whole.held_out is None


@pytest.mark.parametrize(("max_steps", "times"), [(15, 7), (12, 4), (3, 10), (100, 1)])
def test_losses_are_measured_at_equal_distances_and_after_the_last_step(max_steps: int, times: int) -> None:
    steps = sorted(validation_steps(max_steps, times))
    assert len(steps) == min(max_steps, times) and steps[-1] == max_steps
    distances = np.diff([0, *steps])
    assert distances.max() - distances.min() <= 1


# -- the loss, and what is kept


@pytest.mark.parametrize(
    ("kind", "training"),
    [("sft", {}), ("cc", {}), pytest.param("cc", {"lora": LORA}, marks=needs_peft)],
    ids=["sft", "cc", "cc with lora"],
)
def test_the_published_checkpoint_has_the_lowest_loss_of_the_run(
    make_turning: MakeJob, kind: str, training: dict[str, object]
) -> None:
    job = make_turning("run", kind, **training)
    train(job)
    losses, summary = validation_losses(job), read_json(job.folder / "summary.json")
    assert (set(losses), min(losses, key=losses.__getitem__)) == (validation_steps(STEPS, 7), BEST)
    assert (summary["kept_step"], summary["steps"]) == (BEST, STEPS)
    assert (summary["rows"], summary["held_out_rows"]) == (ROWS - HELD_OUT, HELD_OUT)
    assert slow_loss(job) == pytest.approx(min(losses.values()), rel=1e-5)


def test_the_loss_does_not_depend_on_micro_batches_or_on_which_steps_have_a_line(make_turning: MakeJob) -> None:
    one = make_turning("one", "cc", {"device_batch_size": 1})
    four = make_turning("four", "cc", {"device_batch_size": 4, "max_padding": 1.0, "log_every_steps": 100})
    for job in (one, four):
        train(job)
    assert validation_losses(one) == pytest.approx(validation_losses(four), rel=1e-3)
    first = min(validation_losses(one))
    assert validation_losses(one)[first] == pytest.approx(validation_losses(four)[first], rel=1e-5)


def test_measuring_more_often_changes_no_weight(make_turning: MakeJob) -> None:
    jobs = [make_turning(f"{times} times", "cc", validations=times) for times in (1, STEPS)]
    for job in jobs:
        train(job)
    once, often = ([line["loss"] for line in read_metrics(job.folder / "metrics.jsonl")] for job in jobs)
    assert once == often
    once, often = (sha256_of_file(job.folder / f"trainer/checkpoint-{STEPS}/model.safetensors") for job in jobs)
    assert once == often
    assert read_json(jobs[0].folder / "summary.json")["kept_step"] == STEPS


# -- going on after a kill


class Stopped(Exception):
    """Ends a training before a step."""


def stop_before(step: int) -> type[LengthGroupedTrainer]:
    """A Trainer that does not live to see `step`."""

    class StoppedTrainer(LengthGroupedTrainer):
        def training_step(self, *arguments: Any, **named: Any) -> Any:
            if self.state.global_step + 1 == step:
                raise Stopped
            return super().training_step(*arguments, **named)

    return StoppedTrainer


def test_stopped_anywhere_training_goes_on_to_the_same_best_checkpoint(
    make_turning: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_turning("whole", "cc")
    train(whole)
    for step in (2, BEST + 1, BEST + 4, STEPS):
        job = make_turning(f"stopped before {step}", "cc")
        with monkeypatch.context() as patched:
            patched.setattr(run, "LengthGroupedTrainer", stop_before(step))
            with pytest.raises(Stopped):
                train(job)
        train(job.model_copy(update={"resume_from": newest_complete_checkpoint(job.folder / "trainer")}))
        assert digest_of_files(job.folder / "checkpoint") == digest_of_files(whole.folder / "checkpoint")
        assert validation_losses(job) == validation_losses(whole)


@pytest.fixture
def interrupted(make_turning: MakeJob) -> TrainingJob:
    """A finished run without its summary."""
    job = make_turning("run", "cc")
    train(job)
    (job.folder / "summary.json").unlink()
    return job


def test_the_best_checkpoint_outlives_the_newest_two(interrupted: TrainingJob) -> None:
    assert [step_of(path) for path in checkpoints_of(interrupted.folder / "trainer")] == [STEPS, 12, BEST]


def test_the_best_of_the_checkpoint_before_is_kept_as_long_as_that_is(tmp_path: Path) -> None:
    for step, best in ((2, 2), (4, 2), (6, 2), (8, 8), (10, 8), (12, 8)):
        checkpoint = checkpoint_of_step(tmp_path, step)
        checkpoint.mkdir()
        write_json(checkpoint / "trainer_state.json", {"best_global_step": best})
        remove_old_checkpoints(tmp_path, checkpoint)
        kept = {2: [2], 4: [4, 2], 6: [6, 4, 2], 8: [8, 6, 2], 10: [10, 8], 12: [12, 10, 8]}[step]
        assert [step_of(path) for path in checkpoints_of(tmp_path)] == kept


def test_killed_before_its_result_a_run_publishes_the_best_step_without_a_step_more(interrupted: TrainingJob) -> None:
    expected, lines = (digest_of_files(interrupted.folder / name) for name in ("checkpoint", "metrics.jsonl"))
    shutil.rmtree(interrupted.folder / "checkpoint")
    resume_from = newest_complete_checkpoint(interrupted.folder / "trainer")
    train(interrupted.model_copy(update={"resume_from": resume_from}))
    assert digest_of_files(interrupted.folder / "checkpoint") == expected
    assert digest_of_files(interrupted.folder / "metrics.jsonl") == lines


def test_without_the_best_checkpoint_no_later_one_is_gone_on_from(
    interrupted: TrainingJob, caplog: pytest.LogCaptureFixture
) -> None:
    expected = digest_of_files(interrupted.folder / "checkpoint")
    (interrupted.folder / f"trainer/checkpoint-{BEST}/model.safetensors").unlink()
    assert newest_complete_checkpoint(interrupted.folder / "trainer") is None
    assert f"checkpoint of step {STEPS} is skipped: the best one before it, of step {BEST}, is lost" in caplog.text
    train(interrupted)
    assert digest_of_files(interrupted.folder / "checkpoint") == expected


# -- bad input


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (0.01, r"is 0\.01 of 24 rows: 0 would be held out and 24 trained, .*; raise the fraction"),
        (0.99, r"is 0\.99 of 24 rows: 24 would be held out and 0 trained, .*; lower the fraction"),
    ],
)
def test_a_split_without_rows_on_either_side_is_refused(make_job: MakeJob, fraction: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(make_job("run", validation_fraction=fraction))


def test_a_held_out_row_whose_loss_is_not_a_number_is_named(
    make_job: MakeJob, tiny_llama_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model's embedding of one token is broken; only the row that is held out has it."""
    monkeypatch.setattr(checkpoint, "require_finite", lambda *_: None)  # such weights are refused when they are read
    broken, token = tmp_path / "broken", 77
    model: Any = load_checkpoint(tiny_llama_directory)
    model.model.embed_tokens.weight.data[token] = float("nan")
    model.save_pretrained(broken)
    held_out = held_out_indices([f"r{i}" for i in range(8)], 0.125, seed=0)
    rows = [([5, token if i in held_out else 6, 7, 9], 2, [4, 5]) for i in range(8)]
    job = make_job("run", validation_fraction=0.125)
    job = job.model_copy(update={"base": str(broken), "rows": write_rows(tmp_path / "rows.parquet", rows)})
    with pytest.raises(TrainingFailed, match=rf"validation loss nan.* rows r{held_out[0]}\. Look at these rows"):
        train(job)


def test_an_objective_that_keeps_the_best_checkpoint_refuses_to_hold_out_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_config, "OBJECTIVES", {"sft": OBJECTIVES["sft"]._replace(needs_validation=True)})
    with pytest.raises(ConfigError, match=r"'sft' with training\.validation_fraction 0: .* needs held-out rows"):
        TrainConfig(objective="sft")
    held_out = TrainConfig(objective="sft", training=TrainingConfig(validation_fraction=0.05))
    assert held_out.training.validations == 10
