"""The two passes over the rows from t* on: one that reads the activations there, and one with `v` added.

They run behind the ordinary forward pass of a step, which has put the keys and values of every token into the cache.
The first one writes the same again. The second one begins behind the first layer, whose keys and values do not depend
on `v`, and overwrites those of layers 2 to L. English prompts, where requests bring them, are read in between, each in
a pass of its own.

vLLM's decoder layers return what they add last and the residual it has not been added to yet. So the first of the two
is the feed-forward block's contribution, and `f_1 + v` in its place is equation 5 of Ye et al. 2025 in every family.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning_vllm.connection import Connection
from cc_tuning_vllm.uncached_attention import attending_without_cache


@dataclass(frozen=True)
class Blocks:
    """Attribute names in one decoder layer, the same for all layers of a family."""

    attention: str = "self_attn"
    ffn: str = "mlp"
    after_attention: str | None = None  # what stands between the block and the residual
    after_ffn: str | None = None

    def read(self, connection: Connection, layer: nn.Module) -> nn.Module:
        """The module of a layer whose output is the activation that is carried over."""
        if connection.settings.source == "block":
            return layer
        if connection.settings.source == "ffn":
            return self.at_site(connection, layer)
        is_behind = connection.settings.site == "contribution"
        return layer.get_submodule((self.after_attention if is_behind else None) or self.attention)

    def at_site(self, connection: Connection, layer: nn.Module) -> nn.Module:
        """The module of a layer to whose output `v` is added."""
        is_behind = connection.settings.site == "contribution"
        return layer.get_submodule((self.after_ffn if is_behind else None) or self.ffn)


@dataclass(frozen=True)
class Rows:
    """The rows from t* on of R requests, one behind the other, on the model's device."""

    input_ids: Tensor  # [N]
    positions: Tensor  # [N] in their sequences
    places: Tensor  # [R] int64: which of the rows are t*
    row_keys: Tensor  # [R] int64, for the selector `random`
    keeps_own: Tensor  # [R] bool: the requests whose activations are carried over without the map
    english: Mapping[int, Tensor]
    """Of the requests, by their place among the R, that bring an English prompt: its ids up to its t* `[T_en]`."""


@torch.inference_mode()
def connected_states(decoder: Any, connection: Connection, blocks: Blocks, rows: Rows) -> Tensor:
    """The final hidden states `[N, D]` of the rows, with `v` added at t*; attention metadata is that of these rows.

    `decoder` is vLLM's model without its language-model head.
    """
    layers: Sequence[Any] = list(decoder.layers)
    hidden = decoder.embed_input_ids(rows.input_ids)
    embedding, residual = hidden[rows.places], None
    read = [blocks.read(connection, layer) for layer in layers]
    site = blocks.at_site(connection, layers[0])
    with recorded(read, rows.places) as own, recorded([site], rows.places) as first:
        for number, layer in enumerate(layers):
            hidden, residual = layer(rows.positions, hidden, residual)
            if number == 0:  # norms work in place, so the state behind the first layer is kept as a copy
                behind_first = hidden.clone(), residual.clone()
    activations = torch.stack(own, dim=1)
    for place, token_ids in rows.english.items():
        activations[place] = english_activations(decoder, connection, blocks, token_ids)
    vector = connection(activations, embedding, rows.row_keys, rows.keeps_own)
    hidden, residual = behind_first
    hidden[rows.places] = _contribution(connection, blocks, layers[0], first[0], vector)
    for layer in layers[1:]:
        hidden, residual = layer(rows.positions, hidden, residual)
    return decoder.norm(hidden, residual)[0]


def english_activations(decoder: Any, connection: Connection, blocks: Blocks, token_ids: Tensor) -> Tensor:
    """`F_en [L, D]` at the last of an English prompt's `token_ids [T_en]`, in a pass of its own."""
    layers: Sequence[Any] = list(decoder.layers)
    hidden, residual = decoder.embed_input_ids(token_ids), None
    positions = torch.arange(len(token_ids), device=token_ids.device)
    attentions = [layer.get_submodule(f"{blocks.attention}.attn") for layer in layers]
    read = [blocks.read(connection, layer) for layer in layers]
    with attending_without_cache(attentions), recorded(read, positions[-1:]) as own:
        for layer in layers:
            hidden, residual = layer(positions, hidden, residual)
    return torch.cat(own)


def _contribution(connection: Connection, blocks: Blocks, layer: nn.Module, first: Tensor, vector: Tensor) -> Tensor:
    """What the first layer's feed-forward block adds to the residual at t* `[R, D]`, `v` included."""
    if connection.settings.scale is not None:
        vector = connection.settings.scale * first.float().norm(dim=-1, keepdim=True) * vector
    connected = first + vector.to(first.dtype)
    if connection.settings.site == "block_output" and blocks.after_ffn:
        return layer.get_submodule(blocks.after_ffn)(connected)
    return connected


@contextmanager
def recorded(modules: Sequence[nn.Module], places: Tensor) -> Iterator[list[Tensor]]:
    """The outputs of the modules at `places [R]`, in the order in which they run inside the block; copies.

    A decoder layer returns two parts of its output, whose sum is recorded.
    """
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor | tuple[Tensor, Tensor]) -> None:
        outputs.append(output[0][places] + output[1][places] if isinstance(output, tuple) else output[places])

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
