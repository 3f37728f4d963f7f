"""Training with `connection.normalise` and `connection.scale`: what is measured first, kept, and taken up again."""

import shutil

import pytest
import torch
from torch import Tensor

from cc_tuning.runtime.progress import no_progress
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.launch import run_job
from cc_tuning.training.models import load_base
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.parquet_rows import read_rows
from cc_tuning.training.statistics import STATISTICS_FILE, sampled_indices
from cc_tuning.training.trainer_checkpoints import newest_complete_checkpoint
from cc_tuning.training.worker import train
from data_contracts.fingerprint import digest_of_files
from tests.reference.connection import run_row
from tests.training.held_out import HELD_OUT, ROWS, TURNING, slow_loss, validation_losses, with_turning_rows
from tests.training.jobs import MakeJob, column, connected_with, difference, needs_peft, resuming, tensors
from tests.training.launching import run_on_ranks

SELECTORS = ["decision_maker", "mean", "random"]


@torch.no_grad()
def slow_statistics(job: TrainingJob, rows: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[L, D]` float64 of the base model's activations, prompt after prompt."""
    base = load_base(job, load_tokenizer(job.tokenizer)).eval()
    found = read_rows(job.rows, SupervisedFineTuning.contract)
    outputs = []
    for index in sampled_indices(found.row_ids, rows, job.config.training.seed):
        english = torch.tensor(found[index]["english_input_ids"])
        outputs.append(run_row(base, english, len(english) - 1)[1].double())
    stacked = torch.stack(outputs)
    return stacked.mean(0), stacked.std(0, correction=0)


@pytest.mark.parametrize("rows", [7, 1000], ids=["a sample", "all rows"])
def test_statistics_are_those_of_the_base_models_english_prompts(make_job: MakeJob, rows: int) -> None:
    job = connected_with(make_job("run", "cc"), normalise="standardised", scale=1.0, statistics_rows=rows)
    train(job)
    mean, deviation = slow_statistics(job, rows)
    saved = tensors(job)
    assert torch.allclose(saved["activation_mean"].double(), mean, atol=1e-6)
    assert torch.allclose(saved["activation_deviation"].double(), deviation, atol=1e-6)
    assert saved["activation_prompts"].item() == min(rows, 24)


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_killed_run_resumes_to_the_same_bytes(make_job: MakeJob, selector: str) -> None:
    job = make_job("run", "cc")
    job = connected_with(job, normalise="standardised", scale=0.5, selector=selector, statistics_rows=10)
    train(job)
    expected = digest_of_files(job.folder / "checkpoint")
    shutil.rmtree(job.folder / "trainer" / "checkpoint-12")
    found = newest_complete_checkpoint(job.folder / "trainer")
    assert found is not None
    train(job.model_copy(update={"resume_from": found}))
    assert digest_of_files(job.folder / "checkpoint") == expected


@pytest.mark.parametrize(
    "lora", [{}, pytest.param({"lora": {"rank": 4}}, marks=needs_peft)], ids=["all-weights", "lora"]
)
@pytest.mark.parametrize("selector", SELECTORS)
def test_a_learned_length_is_trained_and_taken_up_again(
    make_job: MakeJob, selector: str, lora: dict[str, object]
) -> None:
    jobs = [connected_with(make_job(name, "cc", **lora), scale="learned", selector=selector) for name in ("a", "b")]
    train(jobs[0])
    length = tensors(jobs[0])["decision_maker.log_scale"]
    assert length.shape == (1,) and abs(float(length)) > 1e-4
    resumed = resuming(jobs[1], jobs[0], 8)
    train(resumed)
    assert difference(tensors(resumed), tensors(jobs[0])) == 0.0


def test_a_checkpoint_that_lost_its_statistics_is_not_gone_on_from(make_job: MakeJob) -> None:
    job = connected_with(make_job("run", "cc"), normalise="centred")
    train(job)
    (job.folder / "trainer" / "checkpoint-12" / STATISTICS_FILE).unlink()
    assert newest_complete_checkpoint(job.folder / "trainer") == job.folder / "trainer" / "checkpoint-8"


@pytest.mark.parametrize("selector", ["decision_maker", "mean"])
def test_the_published_model_has_the_loss_that_training_measured(make_job: MakeJob, selector: str) -> None:
    """Over its held-out rows, which the statistics are not of."""
    job = with_turning_rows(make_job("run", "cc", **TURNING))
    job = connected_with(job, normalise="standardised", scale=0.5, selector=selector)
    train(job)
    assert tensors(job)["activation_prompts"].item() == ROWS - HELD_OUT
    assert slow_loss(job) == pytest.approx(min(validation_losses(job).values()), rel=1e-5)


def test_two_ranks_measure_what_one_does(make_job: MakeJob) -> None:
    jobs = []
    for ranks in (1, 2):
        job = make_job(str(ranks), "cc", {"processes": ranks, "device_batch_size": 5}, global_batch_size=23)
        jobs.append(connected_with(job, normalise="standardised", scale=1.0, statistics_rows=11))
    one, two = jobs
    train(one)
    run_job(two, no_progress)
    for name in ("activation_mean", "activation_deviation"):
        assert torch.allclose(tensors(one)[name], tensors(two)[name], atol=1e-6)
    assert column(one, "loss") == pytest.approx(column(two, "loss"), rel=1e-4)


@pytest.mark.slow
def test_fsdp2_measures_what_one_process_does_and_goes_on_to_the_same_bits(make_job: MakeJob) -> None:
    settings: dict[str, object] = {"processes": 2, "device_batch_size": 2}
    mode: dict[str, object] = {"normalise": "standardised", "scale": 0.5, "statistics_rows": 10}
    one = connected_with(make_job("one", "cc"), **mode)
    train(one)
    whole, resumed = (
        connected_with(make_job(name, "cc", {**settings, "sharding": "fsdp2"}), **mode) for name in ("whole", "resumed")
    )
    resumed = resuming(resumed, whole, 8)
    run_on_ranks("tests.training.several_jobs", [whole, resumed])
    assert column(whole, "loss") == pytest.approx(column(one, "loss"), rel=1e-4)
    assert torch.allclose(tensors(whole)["activation_deviation"], tensors(one)["activation_deviation"], atol=1e-6)
    assert difference(tensors(resumed), tensors(whole)) == 0.0


@needs_peft
def test_an_adapter_is_trained_with_statistics_of_its_base(make_job: MakeJob) -> None:
    job = make_job("run", "cc", lora={"rank": 2})
    job = connected_with(job, normalise="standardised", scale=1.0, statistics_rows=9)
    train(job)
    mean, _ = slow_statistics(job, 9)
    assert torch.allclose(tensors(job)["activation_mean"].double(), mean, atol=1e-5)
    expected = digest_of_files(job.folder / "checkpoint")
    shutil.rmtree(job.folder / "trainer" / "checkpoint-12")
    train(job.model_copy(update={"resume_from": newest_complete_checkpoint(job.folder / "trainer")}))
    assert digest_of_files(job.folder / "checkpoint") == expected


def test_sample_depends_on_seed_and_ids_alone() -> None:
    ids = [f"r{number}" for number in range(50)]
    chosen = {ids[index] for index in sampled_indices(ids, 10, 0)}
    assert len(chosen) == 10
    assert {ids[::-1][index] for index in sampled_indices(ids[::-1], 10, 0)} == chosen
    assert {ids[index] for index in sampled_indices(ids, 10, 1)} != chosen
    assert sampled_indices(ids, 60, 0) == list(range(50))
