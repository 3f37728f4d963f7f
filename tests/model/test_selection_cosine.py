"""The cosine between what is carried over and the layer's own activation: a look that changes nothing."""

import pytest
import torch
from torch import Tensor

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.families import find_components
from tests.model.tiny_connected import LAYERS, tiny_model, training_batch

NOISE = torch.tensor([[0.3, -1.0, 2.0], [1.5, 0.0, -0.5], [-2.0, 4.0, 1.0]])


def step_of(model: CrossLingualModel, **arguments: object) -> tuple[list[Tensor], Tensor | None]:
    """Loss and gradients, and the cosine."""
    model.zero_grad()
    output = model(**training_batch(), gumbel_noise=NOISE, **arguments)
    output.loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [output.loss.detach(), *gradients], output.selection_cosine


# gemma2 has the vector added inside of its first layer, at the very block that is read.
@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("recomputes", [False, True], ids=["plain", "checkpointed"])
def test_measuring_the_cosine_changes_no_loss_and_no_gradient(family: str, recomputes: bool) -> None:
    model = tiny_model(family).train()
    if recomputes:
        model.activation_checkpointing_enable()
    plain, absent = step_of(model)
    measured, cosine = step_of(model, measures_cosine=True)
    assert absent is None and cosine is not None and not cosine.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(measured, plain, strict=True))


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("selector", ["decision_maker", "mean"])
def test_cosine_is_that_of_the_english_vector_and_the_same_layers_activation_in_the_connected_pass(
    family: str, selector: str
) -> None:
    model = tiny_model(family, ConnectionConfig(selector=selector)).train()
    batch, noise = training_batch(), NOISE if selector == "decision_maker" else None
    english = model.activations(*(batch[f"english_{name}"] for name in ("input_ids", "attention_mask", "positions")))
    own: dict[int, Tensor] = {}  # of the pass that ran last, the connected one
    handles = [
        block.register_forward_hook(lambda module, inputs, output, at=at: own.update({at: output.detach()}))
        for at, block in enumerate(find_components(model.base).blocks("ffn"))
    ]
    output = model(**batch, gumbel_noise=noise, measures_cosine=True)
    for handle in handles:
        handle.remove()
    for b, position in enumerate(batch["connection_positions"].tolist()):
        g = output.selection[b]
        v = sum(g[at] * english[b, at] for at in range(LAYERS))
        f = sum(g[at] * own[at][b, position] for at in range(LAYERS))
        expected = (v @ f) / (v.norm() * f.norm())
        assert output.selection_cosine[b].item() == pytest.approx(expected.item(), abs=1e-5)
