"""The Decision Maker's own learning rate and temperature, and training that does not depend on the ranks."""

import shutil

import pytest
import torch

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.decision_maker import DecisionMaker, temperature_at
from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.runtime.progress import no_progress
from cc_tuning.training.config import TrainConfig, TrainingConfig
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.launch import run_job
from cc_tuning.training.trainer_checkpoints import newest_complete_checkpoint
from cc_tuning.training.worker import train
from data_contracts.fingerprint import digest_of_files
from tests.training.jobs import MakeJob, column, connected_with, tensors


def test_decision_maker_trains_at_its_own_rate_on_the_same_schedule(make_job: MakeJob) -> None:
    """In the first steps AdamW moves each weight by about the rate: a hundredth of the rate, a hundredth of the way."""
    moved = {}
    for name, rate in (("still", 1e-12), ("slow", 1e-5), ("as the model", None), ("fast", 1e-3)):
        job = make_job(name, "cc", learning_rate=1e-5, decision_maker_learning_rate=rate, global_batch_size=24)
        train(job)
        moved[name] = tensors(job)
        if rate is not None:
            expected = [rate / 1e-5 * of for of in column(job, "learning_rate")]
            assert column(job, "decision_maker_learning_rate") == pytest.approx(expected, rel=1e-6, abs=0)

    def distance(name: str, weight: str) -> float:
        return float((moved[name][weight] - moved["still"][weight]).abs().max())

    assert distance("fast", "decision_maker.weight") > 50 * distance("slow", "decision_maker.weight") > 0
    assert torch.equal(moved["slow"]["decision_maker.weight"], moved["as the model"]["decision_maker.weight"])
    # The model itself has kept its rate.
    assert distance("fast", "model.norm.weight") < 1e-4


def test_run_with_its_own_rate_and_temperature_resumes_to_the_same_weights(make_job: MakeJob) -> None:
    job = make_job("run", "cc", decision_maker_learning_rate=1e-2)
    job = connected_with(job, temperature=2.0, final_temperature=0.1)
    train(job)
    expected, lines = digest_of_files(job.folder / "checkpoint"), column(job, "temperature")
    shutil.rmtree(job.folder / "trainer" / "checkpoint-12")
    train(job.model_copy(update={"resume_from": newest_complete_checkpoint(job.folder / "trainer")}))
    assert digest_of_files(job.folder / "checkpoint") == expected
    assert column(job, "temperature") == lines
    assert lines == pytest.approx([2.0 * (0.1 / 2.0) ** (step / 11) for step in range(12)], abs=1e-5)


def test_rate_without_a_decision_maker_is_refused() -> None:
    training = TrainingConfig(decision_maker_learning_rate=1e-2)
    for connection in (None, ConnectionConfig(selector="mean"), ConnectionConfig(selector="random")):
        with pytest.raises(ConfigError, match="has no Decision Maker to train; leave the rate out"):
            TrainConfig(objective="sft", training=training, connection=connection)
    values = {"name": "n", "model": {"base": "miniature"}, "connection": {"selector": "random"}}
    with pytest.raises(ValueError, match="has no weight to train"):
        Recipe.model_validate({**values, "training": {"decision_maker_learning_rate": 1e-3}})


def test_temperature_courses() -> None:
    geometric = ConnectionConfig(temperature=1.0, final_temperature=0.01)
    linear = geometric.model_copy(update={"temperature_course": "linear"})
    assert [temperature_at(geometric, share) for share in (0, 0.5, 1)] == pytest.approx([1, 0.1, 0.01])
    assert [temperature_at(linear, share) for share in (0, 0.5, 1)] == pytest.approx([1, 0.505, 0.01])
    assert temperature_at(ConnectionConfig(temperature=0.7), 0.9) == 0.7


def test_temperature_in_force_decides_the_noise_and_not_the_argmax() -> None:
    generator = torch.Generator().manual_seed(0)
    F, e = torch.randn(4, 3, 8, generator=generator), torch.randn(4, 8, generator=generator)
    selector = DecisionMaker(8, 3, temperature=1.0, std=0.5)
    noise = torch.zeros(4, 3)
    soft = {}
    for temperature in (1.0, 0.25):
        selector.temperature.fill_(temperature)
        decision = selector.train()(F, e, torch.arange(4), noise)
        soft[temperature] = decision.soft_weights
        assert torch.allclose(decision.probabilities, (decision.logits / temperature).softmax(-1))
        assert torch.equal(selector.eval()(F, e, torch.arange(4), None).selected_layer, decision.selected_layer)
    assert (soft[0.25].max(-1).values > soft[1.0].max(-1).values).all()
    assert "temperature" not in selector.state_dict()


def test_micro_batches_change_nothing_but_rounding(make_job: MakeJob) -> None:
    """The noise belongs to the row: cut in another way, a run of CC-Tuning chooses the same layers."""
    runs = []
    for name, execution in (
        ("wide", {"device_batch_size": 24, "max_padding": 1.0}),
        ("narrow", {"device_batch_tokens": 60, "max_padding": 0.01}),
    ):
        job = make_job(name, "cc", execution, global_batch_size=8)
        train(job)
        runs.append(job)
    wide, narrow = runs
    assert column(wide, "padding") != column(narrow, "padding")
    assert column(wide, "selection_counts") == column(narrow, "selection_counts")
    for name in ("loss", "grad_norm"):
        assert column(wide, name) == pytest.approx(column(narrow, name), rel=1e-4)


def test_ranks_change_nothing_but_rounding_and_a_run_resumes_on_another_number_of_them(make_job: MakeJob) -> None:
    """Steps of 23 and of 1 row: in the second, one of two ranks has nothing to train."""

    def job_on(name: str, ranks: int) -> TrainingJob:
        execution = {"processes": ranks, "device_batch_size": 5, "checkpoint_every_steps": 3}
        return make_job(name, "cc", execution, global_batch_size=23)

    one, two = job_on("one", 1), job_on("two", 2)
    train(one)
    run_job(two, no_progress)
    assert_same_course(one, two)
    # Two ranks were stopped in the middle of the second epoch; one goes on.
    shutil.rmtree(two.folder / "trainer" / "checkpoint-4", ignore_errors=True)
    resume_from = newest_complete_checkpoint(two.folder / "trainer")
    assert resume_from == two.folder / "trainer" / "checkpoint-3"
    train(two.model_copy(update={"execution": one.execution, "resume_from": resume_from}))
    assert_same_course(one, two)


def assert_same_course(first: TrainingJob, second: TrainingJob) -> None:
    assert len(column(first, "loss")) == 4
    assert column(first, "selection_counts") == column(second, "selection_counts")
    for name in ("loss", "grad_norm"):
        assert column(first, name) == pytest.approx(column(second, name), rel=1e-4)
