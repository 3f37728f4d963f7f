"""The site of the connection: `f_l` is what a block contributes to the residual, in every family."""

import pytest
import torch
from torch import Tensor

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.hooks import recorded_activations
from tests.model.tiny_connected import FAMILIES, left_padded, random_prompts, tiny_model

NORMALISED = ("gemma2", "gemma3_text", "olmo2")
"""Families with a norm between a block and the residual."""


@torch.no_grad()
def read(model: CrossLingualModel, source: str) -> tuple[Tensor, Tensor]:
    """`F [B, L, D]` of a source at the last position, and what the first layer is given there `[B, D]`."""
    batch = left_padded(random_prompts())
    positions = torch.full((len(batch["input_ids"]),), batch["input_ids"].shape[1] - 1)
    given: list[Tensor] = []
    handle = model.components.layers[0].register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    with recorded_activations(model.components, source, positions) as outputs:  # type: ignore[arg-type]
        model.components.decoder(**batch)
    handle.remove()
    return outputs.stack(), given[0][:, -1]


@pytest.mark.parametrize("family", FAMILIES)
def test_contributions_of_all_blocks_add_up_to_the_last_residual(family: str) -> None:
    model = tiny_model(family)
    ffn, embedded = read(model, "ffn")
    attention, _ = read(model, "attention")
    residual, _ = read(model, "block")
    expected = embedded + (attention + ffn).sum(1)
    assert (residual[:, -1] - expected).abs().max() <= 1e-5 * residual.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_of_the_connection_is_of_the_order_of_llama(family: str) -> None:
    """`v` beside `f_1` and beside the residual after the first layer, with norms that scale as trained ones do."""
    assert 0.1 < strength(family)[0] / strength("llama")[0] < 10
    assert 0.1 < strength(family)[1] / strength("llama")[1] < 10


@pytest.mark.parametrize("family", NORMALISED)
def test_before_the_norm_the_strength_is_of_another_order(family: str) -> None:
    assert not 0.2 < strength(family, "block_output")[1] / strength(family)[1] < 5


@torch.no_grad()
def strength(family: str, site: str = "contribution") -> tuple[float, float]:
    """The mean norm of `F_l` over layers, relative to `f_1` and to the residual after layer 1."""
    model = tiny_model(family, ConnectionConfig.model_validate({"site": site}))
    for name, weight in model.base.named_parameters():
        if family in NORMALISED and name.endswith(
            ("post_feedforward_layernorm.weight", "post_attention_layernorm.weight")
        ):
            weight.fill_(30.0)  # trained norms of Gemma 3 make a block's output ten to a thousand times larger
    ffn, _ = read(model, "ffn")
    residual, _ = read(model, "block")
    size = ffn.norm(dim=-1).mean()
    return float(size / ffn[:, 0].norm(dim=-1).mean()), float(size / residual[:, 0].norm(dim=-1).mean())
