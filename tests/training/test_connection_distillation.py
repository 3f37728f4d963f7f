"""The objective `cc-distil`: its loss by hand, what learns from it, and what it is refused for."""

import copy
import re

import pytest
import torch
from torch import Tensor

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.identities import train as train_identity
from cc_tuning.training.config import TrainConfig, TrainingConfig
from cc_tuning.training.flops import flops_of_model
from cc_tuning.training.objectives.distil import DIVERGENCE, ConnectionDistillation, divergences
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.worker import train
from data_contracts.fingerprint import digest_of_files
from tests.model.test_connected_pass import NOISE, gradients, rows_of
from tests.model.test_connection_variants import worst_relative
from tests.model.tiny_connected import FAMILIES, tiny_base, tiny_model, training_batch
from tests.pipeline.test_runs import labels, plan
from tests.reference.distillation import distillation_loss
from tests.training.jobs import MakeJob, column, difference, resuming, tensors


def batch_with_noise() -> dict[str, Tensor]:
    return training_batch() | {"gumbel_noise": NOISE}


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "olmo2"])
def test_loss_and_gradients_are_those_written_out_token_by_token_in_float64(family: str) -> None:
    """The teacher takes no gradient from the divergence: in the reference its probabilities are plain numbers."""
    model, batch = tiny_model(family).train(), batch_with_noise()
    objective = ConnectionDistillation(0.7)
    got = objective.loss(model, batch, objective.count(batch)).loss
    got.backward()
    slow = copy.deepcopy(model).double()
    slow.zero_grad()
    expected = distillation_loss(slow.base, slow.decision_maker.weight, rows_of(batch), NOISE, 0.7)
    expected.backward()
    assert abs(got.item() - expected.item()) <= 1e-5 * expected.item()
    assert worst_relative({name: grad.double() for name, grad in gradients(model).items()}, gradients(slow)) <= 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_second_pass_is_the_model_alone(family: str) -> None:
    model, batch = tiny_model(family), batch_with_noise()
    with torch.no_grad():
        output = model(**batch, with_unconnected=True)
        alone = model.base(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(output.unconnected_logits[real], alone[real], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(output.logits[real], output.unconnected_logits[real])
    assert model(**batch).unconnected_logits is None


def test_without_a_difference_it_is_supervised_fine_tuning() -> None:
    """A vector of zeros: both passes are one, the divergence is zero and so is its gradient."""
    model, batch = tiny_model("llama").train(), batch_with_noise()
    decide = model.decide
    model.decide = lambda *given: (made := decide(*given))._replace(vector=0 * made.vector)  # type: ignore[method-assign]
    found = {}
    for name, objective in (("sft", SupervisedFineTuning()), ("distil", ConnectionDistillation(3.0))):
        model.zero_grad()
        loss = objective.loss(model, batch, objective.count(batch))
        loss.loss.backward()
        found[name] = loss.loss.item(), gradients(model)
        divergence = loss.metrics.get(DIVERGENCE, torch.zeros(3))
    assert divergence.abs().max() < 1e-6
    assert found["distil"][0] == pytest.approx(found["sft"][0], abs=1e-5)
    trained = {name: grad for name, grad in found["sft"][1].items() if "decision_maker" not in name}
    assert worst_relative({name: found["distil"][1][name] for name in trained}, trained) < 1e-4


def test_parts_of_a_step_add_up_to_its_loss() -> None:
    model, batch = tiny_model("llama"), batch_with_noise()
    objective = ConnectionDistillation(1.0)
    count = objective.count(batch)
    rows = [{name: tensor[row : row + 1] for name, tensor in batch.items()} for row in range(3)]
    parts = torch.stack([objective.loss(model, row, count).loss for row in rows])
    torch.testing.assert_close(parts.sum(), objective.loss(model, batch, count).loss)


def test_divergence_is_that_of_the_closed_form() -> None:
    """Two tokens with p = (1/4, 3/4) and q = (1/2, 1/2): KL = 1/4 ln 1/2 + 3/4 ln 3/2."""
    connected, plain = torch.tensor([[1.0, 3.0], [2.0, 2.0]]).log(), torch.zeros(2, 2)
    expected = 0.25 * torch.tensor(0.5).log() + 0.75 * torch.tensor(1.5).log()
    torch.testing.assert_close(divergences(connected, plain), torch.stack([expected, torch.zeros(())]))


def test_the_model_alone_learns_what_the_connected_one_says() -> None:
    """Beside a weight of nearly nothing, after the same steps: a tenth of the divergence, and as likely responses."""
    left = {}
    for weight in (1e-9, 5.0):
        model, batch = tiny_model("llama").train(), batch_with_noise()
        objective, optimizer = ConnectionDistillation(weight), torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            step = objective.loss(model, batch, objective.count(batch))
            step.loss.backward()
            optimizer.step()
        left[weight] = float(step.metrics[DIVERGENCE].mean()), float(step.loss.detach())
    assert left[5.0][0] < 0.1 * left[1e-9][0]
    assert left[5.0][1] < 0.1


def test_a_run_is_trained_and_goes_on_to_the_same_bits(make_job: MakeJob) -> None:
    whole = make_job("whole", "cc-distil")
    train(whole)
    assert len(column(whole, DIVERGENCE)) == 12
    assert column(whole, "loss")[-1] < column(whole, "loss")[0]
    resumed = resuming(make_job("resumed", "cc-distil"), whole, 8)
    train(resumed)
    assert difference(tensors(resumed), tensors(whole)) == 0.0
    assert digest_of_files(resumed.folder / "checkpoint") == digest_of_files(whole.folder / "checkpoint")


def test_a_model_without_a_connection_has_nothing_to_learn_from() -> None:
    with pytest.raises(ConfigError, match="objective 'cc-distil' on a model without a connection"):
        TrainConfig(objective="cc-distil")
    with pytest.raises(ConfigError, match=re.escape("set `connected: true`, or take the objective `sft`")):
        plan("[{name: a, like: ml-sft, objective: cc-distil}]")
    with pytest.raises(ConfigError, match="objective 'sft' distils nothing"):
        plan("[{name: a, like: cc-tuning, set: {training.distil_weight: 2}}]")


def test_the_weight_is_a_part_of_the_runs_that_read_it_and_of_no_other() -> None:
    runs = "[ml-sft, cc-tuning, cc-distil]"
    before, after = plan(runs), plan(runs, "training.distil_weight=2")
    changed = [
        run.name
        for run, other in zip(before.runs, after.runs, strict=True)
        if run.train and other.train and run.train.fingerprint != other.train.fingerprint
    ]
    assert changed == ["cc-distil"]
    assert labels(after, "materialize") == ["materialize plain"]
    distilled = after.runs[-1]
    assert train_identity(distilled.recipe, distilled.spec).training == TrainingConfig.model_validate(
        after.recipe.training.model_dump()
    )


def test_a_row_that_is_read_twice_costs_twice() -> None:
    once, twice = (flops_of_model(tiny_base("llama").config, 1.0, passes) for passes in (1, 2))
    assert (once.linear, once.passes, twice.passes) == (twice.linear, 1, 2)
