"""CLO, DPO and fine-tuning on preference rows against the formulas written out, and in their limits."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cc_tuning.training.objectives.base import Objective
from cc_tuning.training.objectives.config import PreferenceConfig
from cc_tuning.training.objectives.table import ObjectiveName, load_objective
from data_contracts.errors import ArtifactMismatch
from tests.reference.preferences import clo_loss, dpo_loss, log_probability, margin
from tests.training.pair_rows import ROWS, float64_model, slow_row, write_reference

SLOW_ROWS = [slow_row(row) for row in ROWS]


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    return {"reference": write_reference(tmp_path)}


def loss_and_gradients(model: Any, objective: Objective, inputs: dict[str, Path], rows: Any = ROWS) -> Any:
    batch = objective.collator(0, inputs)(rows)
    loss, metrics = objective.loss(model, batch, objective.count(batch).double())
    return loss, gradients(model, loss), metrics


def gradients(model: Any, loss: Tensor) -> Tensor:
    weights = list(model.parameters())
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])


def assert_equal(got: tuple[Tensor, Tensor, Any], model: Any, expected: Tensor) -> None:
    torch.testing.assert_close(got[0], expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(got[1], gradients(model, expected), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["clo", "clo-all"])
@pytest.mark.parametrize(("sft_on", "fine_tuned"), [("target", ["chosen"]), ("both", ["chosen", "english_chosen"])])
def test_clo_and_its_gradient_are_those_of_the_formula(
    name: ObjectiveName, sft_on: Any, fine_tuned: list[str], inputs: dict[str, Path]
) -> None:
    model, settings = float64_model(), PreferenceConfig(beta=0.3, sft_weight=0.7, sft_on=sft_on)
    got = loss_and_gradients(model, load_objective(name, settings), inputs)
    assert_equal(got, model, clo_loss(model, SLOW_ROWS, beta=0.3, weight=0.7, fine_tuned=fine_tuned))


def test_dpo_and_its_gradient_are_those_of_the_formula(inputs: dict[str, Path]) -> None:
    model = float64_model()
    got = loss_and_gradients(model, load_objective("dpo", PreferenceConfig(beta=0.3)), inputs)
    assert_equal(got, model, dpo_loss(model, SLOW_ROWS, beta=0.3))


@pytest.mark.parametrize("name", ["clo", "dpo"])
def test_the_margins_of_each_row_are_logged(name: ObjectiveName, inputs: dict[str, Path]) -> None:
    model, objective = float64_model(), load_objective(name)
    _, _, metrics = loss_and_gradients(model, objective, inputs)
    assert tuple(metrics) == objective.metrics == ("margin", "english_margin")
    for number, row in enumerate(SLOW_ROWS):
        with torch.no_grad():
            target = float(margin(model, row, "chosen", "rejected", beta=0.1))
            english = float(margin(model, row, "english_chosen", "english_rejected", beta=0.1))
        assert float(metrics["margin"][number]) == pytest.approx(target, abs=1e-8)
        assert float(metrics["english_margin"][number]) == pytest.approx(english, abs=1e-8)
    assert not metrics["margin"].requires_grad


def test_with_lambda_one_clo_is_fine_tuning_on_the_target(inputs: dict[str, Path]) -> None:
    model = float64_model()
    clo = loss_and_gradients(model, load_objective("clo", PreferenceConfig(sft_weight=1)), inputs)
    log_likelihood = sum(log_probability(model, row["chosen"]) for row in SLOW_ROWS)
    tokens = sum(len(row["chosen_ids"]) - row["prompt_length"] for row in ROWS)
    assert_equal(clo, model, -log_likelihood / tokens)


def test_without_beta_each_preference_is_log_two_whatever_the_model_says(inputs: dict[str, Path]) -> None:
    model = float64_model()
    settings = PreferenceConfig(beta=1e-300, sft_weight=0)
    clo, dpo = (loss_and_gradients(model, load_objective(name, settings), inputs) for name in ("clo-all", "dpo"))
    assert float(clo[0].detach()) == pytest.approx(2 * math.log(2), abs=1e-12)
    assert float(dpo[0].detach()) == pytest.approx(math.log(2), abs=1e-12)
    assert max(float(clo[1].abs().max()), float(dpo[1].abs().max())) < 1e-299


@pytest.mark.parametrize(
    ("name", "sides"),
    [("sft-tgt", ["chosen"]), ("sft-eng", ["english_chosen"]), ("sft-both", ["chosen", "english_chosen"])],
)
def test_fine_tuning_reads_the_sides_it_is_named_after(name: ObjectiveName, sides: list[str]) -> None:
    model, objective = float64_model(), load_objective(name)
    batch = objective.collator(0, {})(ROWS)
    got = objective.loss(model, batch, objective.count(batch)).loss
    total = sum(log_probability(model, row[side]) for row in SLOW_ROWS for side in sides)
    tokens = sum(len(row[side][0]) - row[side][1] for row in SLOW_ROWS for side in sides)
    torch.testing.assert_close(got.double(), -total / tokens, rtol=1e-6, atol=0)  # its loss is float32


@pytest.mark.parametrize("name", ["clo", "dpo", "sft-both"])
def test_micro_batches_add_up_to_the_loss_of_the_step(name: ObjectiveName, inputs: dict[str, Path]) -> None:
    model, objective = float64_model(), load_objective(name)
    collate = objective.collator(0, inputs)
    whole, parts = collate(ROWS), [collate(ROWS[:2]), collate(ROWS[2:])]
    count = sum(objective.count(part) for part in parts)
    assert torch.equal(count, objective.count(whole))
    total = sum(objective.loss(model, part, count.double()).loss for part in parts)
    torch.testing.assert_close(total, objective.loss(model, whole, count.double()).loss, rtol=1e-6, atol=1e-9)


def test_sums_are_float32_where_logits_are_not(inputs: dict[str, Path]) -> None:
    model, objective = float64_model().bfloat16(), load_objective("clo")
    batch = objective.collator(0, inputs)(ROWS)
    loss, metrics = objective.loss(model, batch, objective.count(batch).float())
    assert loss.dtype == metrics["margin"].dtype == torch.float32


def test_a_damaged_file_of_reference_values_is_named(inputs: dict[str, Path]) -> None:
    path = inputs["reference"] / "reference.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactMismatch, match=r"reference\.parquet"):
        load_objective("clo").collator(0, inputs)
