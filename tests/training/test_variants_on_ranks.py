"""Distillation, predicted activations and a learned length, all at once: what several processes make of them."""

import pytest
import torch
from safetensors.torch import load_file

from cc_tuning.runtime.progress import no_progress
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.launch import run_job
from cc_tuning.training.objectives.distil import DIVERGENCE
from cc_tuning.training.running_map import RUNNING_MAP_FILE
from cc_tuning.training.worker import train
from tests.training.jobs import MakeJob, column, connected_with, difference, resuming, tensors
from tests.training.launching import run_on_ranks

SETTINGS: dict[str, object] = {"predicted_share": 0.5, "predicted_refit": 3, "scale": "learned", "normalise": "centred"}


def running_map(job: TrainingJob, step: int = 12) -> dict[str, torch.Tensor]:
    """The map in force at a step, and its sums."""
    return load_file(job.folder / "trainer" / f"checkpoint-{step}" / RUNNING_MAP_FILE)


def test_two_ranks_train_what_one_does(make_job: MakeJob) -> None:
    """With idle micro-batches, whose rows are in no sum."""
    jobs = []
    for ranks in (1, 2):
        job = make_job(str(ranks), "cc-distil", {"processes": ranks, "device_batch_size": 5}, global_batch_size=3)
        jobs.append(connected_with(job, **SETTINGS))
    one, two = jobs
    train(one)
    run_job(two, no_progress)
    assert column(one, "loss") == pytest.approx(column(two, "loss"), rel=1e-4)
    assert column(one, DIVERGENCE) == pytest.approx(column(two, DIVERGENCE), abs=2e-4)
    assert float(running_map(one)["rows"]) == float(running_map(two)["rows"]) == (((9 / 2 + 9) / 2 + 9) / 2 + 9) / 2
    predicted = {name: running_map(job)["english_mean"] for name, job in (("one", one), ("two", two))}
    torch.testing.assert_close(predicted["one"], predicted["two"], rtol=1e-3, atol=1e-5)
    assert difference(tensors(one), tensors(two)) < 1e-3


@pytest.mark.slow
def test_fsdp2_trains_what_one_process_does_and_goes_on_to_the_same_bits(make_job: MakeJob) -> None:
    settings: dict[str, object] = {"processes": 2, "device_batch_size": 2, "sharding": "fsdp2"}
    one = connected_with(make_job("one", "cc-distil"), **SETTINGS)
    train(one)
    whole, resumed = (
        connected_with(make_job(name, "cc-distil", settings), **SETTINGS) for name in ("whole", "resumed")
    )
    resumed = resuming(resumed, whole, 8)
    run_on_ranks("tests.training.several_jobs", [whole, resumed])
    assert column(whole, "loss") == pytest.approx(column(one, "loss"), rel=1e-4)
    assert tensors(whole)["decision_maker.log_scale"].shape == (1,)
    assert difference(tensors(resumed), tensors(whole)) == 0.0
