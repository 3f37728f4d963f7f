"""What an objective decides: the loss, which weights learn, and the rows; the connection is beside it."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.connection import CrossLingualModel, load_checkpoint
from cc_tuning.training.config import LoraConfig, TrainConfig, TrainingConfig
from cc_tuning.training.models import train_attention_alone
from cc_tuning.training.objectives.config import PreferenceConfig
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.objectives.table import OBJECTIVES, ObjectiveName, load_objective
from cc_tuning.training.worker import train
from data_contracts.fingerprint import digest_of_files
from tests.model.tiny_connected import FAMILIES, tiny_base, training_batch
from tests.training.jobs import MakeJob, column, difference, resuming, tensors

ROOT = Path(__file__).parents[2]
PLAIN = ("input_ids", "attention_mask", "labels")

parametrised_by_family = pytest.mark.parametrize("family", FAMILIES)
parametrised_by_connection = pytest.mark.parametrize("is_connected", [False, True], ids=["plain", "connected"])


def model_of(family: str, is_connected: bool) -> PreTrainedModel | CrossLingualModel:
    base = tiny_base(family)
    return CrossLingualModel.from_base(base, ConnectionConfig()) if is_connected else base


def batch_for(is_connected: bool) -> dict[str, Tensor]:
    batch = training_batch()
    return batch | {"gumbel_noise": torch.zeros(3, 3)} if is_connected else {name: batch[name] for name in PLAIN}


def gradients(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """By parameter name, of the mean over response tokens; of the parameters that have one."""
    objective = SupervisedFineTuning()
    objective.loss(model.train(), batch, objective.count(batch)).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@parametrised_by_family
def test_loss_is_that_of_transformers(family: str) -> None:
    model, batch = tiny_base(family), batch_for(False)
    objective = SupervisedFineTuning()
    got = objective.loss(model, batch, objective.count(batch))
    torch.testing.assert_close(got.loss, model(**batch).loss, rtol=1e-6, atol=0)
    assert objective.count(batch) == 6 + 2 + 4  # the responses
    assert got.metrics == {}


def test_parts_of_a_step_add_up_to_its_loss() -> None:
    model, batch = tiny_base("llama"), batch_for(False)
    objective = SupervisedFineTuning()
    count = objective.count(batch)
    rows = [{name: tensor[row : row + 1] for name, tensor in batch.items()} for row in range(3)]
    parts = torch.stack([objective.loss(model, row, count).loss for row in rows])
    torch.testing.assert_close(parts.sum(), objective.loss(model, batch, count).loss)


@parametrised_by_family
@parametrised_by_connection
def test_attention_has_the_gradients_of_full_training_and_nothing_else_has_one(family: str, is_connected: bool) -> None:
    whole, part = (model_of(family, is_connected) for _ in range(2))
    train_attention_alone(part.base if isinstance(part, CrossLingualModel) else part)
    if is_connected:
        part.load_state_dict(whole.state_dict())  # the selector is drawn anew
    batch = batch_for(is_connected)
    expected, got = gradients(whole, batch), gradients(part, batch)
    assert set(got) == {name for name in expected if ".self_attn." in name or "decision_maker" in name}
    assert any("decision_maker" in name for name in got) is is_connected
    for name, gradient in got.items():
        assert torch.equal(gradient, expected[name])


@pytest.mark.parametrize("kind", ["sft-attention", "cc-attention"])
def test_only_attention_changes_and_training_goes_on_to_the_same_bits(make_job: MakeJob, kind: str) -> None:
    whole = make_job("whole", kind, weight_decay=0.01)
    train(whole)
    before, after = load_file(Path(whole.base) / "model.safetensors"), tensors(whole)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if ".self_attn." in name}
    assert ("decision_maker.weight" in after) is (kind == "cc-attention")
    assert column(whole, "loss")[-1] < column(whole, "loss")[0]
    resumed = resuming(make_job("resumed", kind, weight_decay=0.01), whole, 8)
    train(resumed)
    assert difference(tensors(resumed), after) == 0.0
    assert digest_of_files(resumed.folder / "checkpoint") == digest_of_files(whole.folder / "checkpoint")
    assert isinstance(load_checkpoint(whole.folder / "checkpoint"), CrossLingualModel) is (kind == "cc-attention")


def test_the_decision_maker_learns_beside_attention(make_job: MakeJob) -> None:
    jobs = [
        make_job(name, "cc-attention", decision_maker_learning_rate=rate) for name, rate in (("a", 1e-12), ("b", 1))
    ]
    for job in jobs:
        train(job)
    still, moved = (tensors(job)["decision_maker.weight"] for job in jobs)
    assert (still - moved).abs().max() > 0.1


def test_adapters_and_an_objective_that_chooses_weights_exclude_each_other() -> None:
    training = TrainingConfig(lora=LoraConfig(rank=8))
    with pytest.raises(
        ConfigError, match=r"'sft-attention' with training\.lora\.rank 8: the objective trains attention"
    ):
        TrainConfig(objective="sft-attention", training=training)


def test_an_unknown_objective_is_named_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match=r"Input should be 'sft', 'sft-attention', 'sft-eng', .* or 'cc-distil'"):
        TrainConfig(objective="sorting")


@pytest.mark.parametrize(("name", "preference"), [("sft", PreferenceConfig()), ("sft-eng", PreferenceConfig())])
def test_a_preference_without_an_objective_that_reads_it_is_refused(
    name: ObjectiveName, preference: PreferenceConfig
) -> None:
    with pytest.raises(ConfigError, match=f"objective '{name}' has no preference, got PreferenceConfig"):
        TrainConfig(objective=name, preference=preference)


def test_an_objective_that_prefers_needs_its_settings_and_held_out_rows() -> None:
    training = TrainingConfig(validation_fraction=0.1)
    with pytest.raises(ConfigError, match="objective 'clo' needs the settings of a preference, got None"):
        TrainConfig(objective="clo", training=training)
    with pytest.raises(ConfigError, match=r"objective 'clo' with training\.validation_fraction 0"):
        TrainConfig(objective="clo", preference=PreferenceConfig())


@pytest.mark.parametrize("name", get_args(ObjectiveName))
def test_every_objective_can_be_had_by_its_name(name: ObjectiveName) -> None:
    assert tuple(OBJECTIVES) == get_args(ObjectiveName)
    objective = load_objective(name)
    assert objective.contract.sequences_per_row == len(objective.contract.sequences) >= 1
    assert objective.contract.columns[0] == "row_id"


def test_the_names_of_objectives_need_no_torch() -> None:
    program = "import sys, cc_tuning.training.objectives.table; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
