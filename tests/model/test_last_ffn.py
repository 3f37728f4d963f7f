"""A pass for activations computes its last feed-forward block at t* alone."""

import pytest
import torch

from cc_tuning.model import ConnectionConfig
from cc_tuning.model.config import ActivationSource
from cc_tuning.model.families import find_components
from cc_tuning.model.hooks import last_ffn_at, recorded_activations
from tests.model.tiny_connected import FAMILIES, left_padded, random_prompts, tiny_model


@pytest.mark.parametrize("source", ["ffn", "attention", "block"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_activations_are_those_of_the_whole_pass(family: str, source: ActivationSource) -> None:
    model = tiny_model(family, ConnectionConfig(source=source))
    components, batch, positions = find_components(model.base), left_padded(random_prompts()), torch.tensor([10, 7, 9])
    expected = model.activations(**batch, positions=positions)
    seen = []
    shapes = components.ffns[-1].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    with last_ffn_at(components, positions), recorded_activations(components, source, positions) as outputs:
        components.decoder(**batch)
    shapes.remove()
    # Against the length of each vector: single elements cancel to nothing, and every processor rounds its own way.
    error = (outputs.stack() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < 1e-5
    assert seen == [(3, 1, 32)]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.base.modules())
