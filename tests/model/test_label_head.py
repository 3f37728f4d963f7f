"""The head at labelled positions, whole and in parts, against logits of every position."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.label_head import fits_whole, head_at, head_in_parts, logits_of, rows_of_a_part
from cc_tuning.training.objectives.base import CalledModel, Model
from cc_tuning.training.objectives.distil import ConnectionDistillation
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from tests.model.test_connected_pass import NOISE
from tests.model.tiny_connected import FAMILIES, VOCABULARY, tiny_base, training_batch
from tests.training.pair_rows import float64_model

LABELS = 6 + 2 + 4
PLAIN = ("input_ids", "attention_mask", "labels")
ONE_ROW, THREE_ROWS, ALL = (4 * VOCABULARY * rows for rows in (1, 3, LABELS))

parametrised_by_family = pytest.mark.parametrize("family", FAMILIES)


def plain_batch() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in training_batch().items() if name in PLAIN}


def whole_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The mean over labels of what a whole `[B, T, V]` says, by the definition."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    log_probabilities = model(**inputs).logits.log_softmax(-1)
    labels = batch["labels"]
    each = [
        -log_probabilities[row, step - 1, int(labels[row, step])]
        for row in range(labels.shape[0])
        for step in range(1, labels.shape[1])
        if labels[row, step] != -100
    ]
    return torch.stack(each).mean()


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_gradients_equal(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((got[name] - gradient).abs().max()) <= tolerance * max(float(gradient.abs().max()), 1e-3), name


def connected(family: str, **changes: object) -> CrossLingualModel:
    torch.manual_seed(3)
    return CrossLingualModel.from_base(tiny_base(family, **changes), ConnectionConfig()).train()


def outputs_of(head: nn.Module) -> list[tuple[int, torch.dtype]]:
    """How many positions a module computes from now on, and its output's dtype, in the order in which it does."""
    seen: list[tuple[int, torch.dtype]] = []
    run = head.forward

    def watched(hidden: Tensor) -> Tensor:
        output: Tensor = run(hidden)
        seen.append((output[..., 0].numel(), output.dtype))
        return output

    head.forward = watched
    return seen


@parametrised_by_family
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("logit_bytes", [None, ONE_ROW, THREE_ROWS + 5], ids=["whole", "one by one", "by three"])
def test_loss_and_gradients_are_those_of_a_head_on_every_position(
    family: str, tied: bool, logit_bytes: int | None
) -> None:
    model, batch = tiny_base(family, tie_word_embeddings=tied).train(), plain_batch()
    expected_loss = whole_loss(model, batch)
    expected = gradients(model, expected_loss)
    objective = SupervisedFineTuning()
    loss = objective.loss(CalledModel(model, model, logit_bytes), batch, objective.count(batch)).loss
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    assert_gradients_equal(gradients(model, loss), expected, 2e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_connected_model_has_the_same_loss_and_gradients_whole_and_in_parts(family: str, tied: bool) -> None:
    model, batch = connected(family, tie_word_embeddings=tied), training_batch() | {"gumbel_noise": NOISE}
    expected_loss = whole_loss(model, batch)
    expected = gradients(model, expected_loss)
    assert any("decision_maker" in name for name in expected)
    objective = SupervisedFineTuning()
    for logit_bytes in (None, ONE_ROW, THREE_ROWS, ALL):
        loss = objective.loss(CalledModel(model, model, logit_bytes), batch, objective.count(batch)).loss
        torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
        assert_gradients_equal(gradients(model, loss), expected, 2e-5)


def test_distillation_in_parts_is_distillation() -> None:
    """Both passes go through the head, and the divergence needs the two logits of a position together."""
    model, batch = connected("gemma2"), training_batch() | {"gumbel_noise": NOISE}
    objective = ConnectionDistillation(0.7)
    count = objective.count(batch)
    whole = objective.loss(CalledModel(model, model, None), batch, count)
    expected = gradients(model, whole.loss)
    parts = objective.loss(CalledModel(model, model, THREE_ROWS), batch, count)
    torch.testing.assert_close(parts.loss, whole.loss)
    assert whole.metrics.keys() == parts.metrics.keys()
    for name, values in whole.metrics.items():
        torch.testing.assert_close(parts.metrics[name], values)
    assert_gradients_equal(gradients(model, parts.loss), expected, 2e-5)


def test_in_float64_loss_and_gradients_are_those_of_every_position_to_twelve_digits() -> None:
    """GPT-2 computes in float64 throughout."""
    model, batch = float64_model(), plain_batch()
    batch["input_ids"], batch["labels"] = (
        batch["input_ids"] % 64,
        batch["labels"].where(batch["labels"] == -100, batch["labels"] % 64),
    )
    objective = SupervisedFineTuning()
    loss = objective.loss(model, batch, objective.count(batch).double()).loss
    expected_loss = whole_loss(model, batch)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-12)
    expected = gradients(model, expected_loss)
    loss = objective.loss(model, batch, objective.count(batch).double()).loss
    for name, gradient in gradients(model, loss).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("is_connected", [False, True], ids=["plain", "connected"])
def test_the_head_runs_once_for_each_label_and_again_only_in_parts(is_connected: bool) -> None:
    model: Any = connected("llama") if is_connected else tiny_base("llama").train()
    batch = training_batch() | {"gumbel_noise": NOISE} if is_connected else plain_batch()
    seen = outputs_of((model.base if is_connected else model).get_output_embeddings())
    objective = SupervisedFineTuning()
    objective.loss(model, batch, objective.count(batch)).loss.backward()
    assert [positions for positions, _ in seen] == [LABELS]
    seen.clear()
    loss = objective.loss(CalledModel(model, model, 5 * ONE_ROW), batch, objective.count(batch)).loss
    assert [positions for positions, _ in seen] == [5, 5, 2]
    loss.backward()
    assert sorted(positions for positions, _ in seen[3:]) == [2, 5, 5]
    seen.clear()
    with torch.no_grad():
        objective.loss(CalledModel(model, model, 5 * ONE_ROW), batch, objective.count(batch))
    assert [positions for positions, _ in seen] == [5, 5, 2]


def test_in_parts_no_logits_wait_for_the_backward_pass() -> None:
    """Of all that autograd keeps, what is as wide as the vocabulary and is no weight."""
    model, batch = tiny_base("llama").train(), plain_batch()
    weights = {weight.data_ptr() for weight in model.parameters()}
    objective = SupervisedFineTuning()
    largest = {}
    for name, logit_bytes in (("whole", None), ("parts", THREE_ROWS)):
        rows: list[int] = []

        def saw(tensor: Tensor, rows: list[int] = rows) -> Tensor:
            if tensor.shape[-1:] == (VOCABULARY,) and tensor.data_ptr() not in weights:
                rows.append(tensor.numel() // VOCABULARY)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(saw, lambda tensor: tensor):
            objective.loss(CalledModel(model, model, logit_bytes), batch, objective.count(batch))
        largest[name] = max(rows, default=0)
    assert largest == {"whole": LABELS, "parts": 0}


def test_parts_are_computed_in_the_autocast_of_the_pass() -> None:
    """An engine's autocast is around the `forward` of the whole model, and over by the time of the backward pass."""
    model, batch = tiny_base("llama").train(), plain_batch()
    seen, forward = outputs_of(model.get_output_embeddings()), model.forward

    def under_autocast(*given: Any, **named: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(*given, **named)

    model.forward = under_autocast  # type: ignore[method-assign]
    objective = SupervisedFineTuning()
    loss = objective.loss(CalledModel(model, model, THREE_ROWS), batch, objective.count(batch)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert seen == [(3, torch.bfloat16)] * 8


@parametrised_by_family
def test_logits_of_hidden_states_are_those_of_the_model(family: str) -> None:
    base, batch = tiny_base(family), plain_batch()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert torch.equal(logits_of(base, base.model(**inputs).last_hidden_state), base(**inputs).logits)


def test_hooks_are_gone_afterwards_also_after_an_error() -> None:
    base, batch = tiny_base("llama"), plain_batch()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    head, is_labelled = base.get_output_embeddings(), batch["labels"] != -100
    with pytest.raises(RuntimeError, match="stop"), head_at(base, is_labelled):
        raise RuntimeError("stop")
    labels = batch["labels"][is_labelled]
    in_parts = head_in_parts(base, base, is_labelled, labels, lambda logits, of: logits[:, 0], 3)
    with pytest.raises(RuntimeError, match="stop"), in_parts:
        raise RuntimeError("stop")
    assert not head._forward_pre_hooks
    assert "forward" not in vars(head)
    assert not base._forward_hooks
    assert base(**inputs).logits.shape == (3, 16, VOCABULARY)


def test_a_family_whose_head_is_not_known_is_never_cut() -> None:
    model = float64_model()
    assert fits_whole(model, 10**9, 1)
    assert not fits_whole(tiny_base("llama"), 4, THREE_ROWS)
    assert fits_whole(tiny_base("llama"), 3, THREE_ROWS)
    assert rows_of_a_part(tiny_base("llama"), 1) == 1


def test_hidden_states_of_some_positions_are_refused() -> None:
    base, batch = tiny_base("llama"), plain_batch()
    model: Model = CalledModel(base, lambda **inputs: base(**inputs, logits_to_keep=4))
    objective = SupervisedFineTuning()
    with pytest.raises(UnsupportedModel, match=r"hidden states \[3, 4, 32\], expected \[3, 16, 'D'\]"):
        objective.loss(model, batch, objective.count(batch))


def test_a_head_that_does_not_run_is_named() -> None:
    base, batch = tiny_base("llama"), plain_batch()
    other: PreTrainedModel = copy.deepcopy(base)
    objective = SupervisedFineTuning()
    with pytest.raises(UnsupportedModel, match="output embedding of a LlamaForCausalLM did not run"):
        objective.loss(CalledModel(base, other), batch, objective.count(batch))
