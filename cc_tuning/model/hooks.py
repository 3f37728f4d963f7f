"""Hooks around a forward pass of an untouched model that read its blocks at t*, or leave out the rest.

Reading takes two hooks per layer. The one on the block keeps its output and computes nothing: under gradient
checkpointing a layer's forward runs a second time in the backward pass, when the hooks are gone, and an operation of
theirs would be missed there. The one on the decoder layer, which runs outside of what is recomputed, takes the position
out and lets the rest go, so one whole output is held at a time. With this, gradients through the activations are exact
with and without checkpointing.

Leaving out is for passes that are made for activations at t* and for the KV cache. After the last layer's attention no
position sees another one any more, and its keys and values are in the cache by then. So the last feed-forward block is
computed at t* alone: with L layers that saves about two thirds of 1/L of the pass, which is more than a connected
prompt's additional decode step costs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.config import ActivationSource
from cc_tuning.model.families import Components


class Activations:
    """The trace of one forward pass: the source's output at the chosen position of each row, for every layer; with
    `positions [B, n]` at each of n positions.

    `keeps_gradient` says whether it has a part in the pass's gradient.
    """

    def __init__(self, positions: Tensor, layers: int, keeps_gradient: bool = True) -> None:
        self._keeps_gradient = keeps_gradient
        self._rows = rows_beside(positions)
        self._positions = positions
        self._whole: Tensor | None = None  # of the block that ran last
        self._by_layer: list[Tensor | None] = [None] * layers

    def keep(self, module: nn.Module, inputs: Any, output: Tensor | tuple[Any, ...]) -> None:
        """The hook of a block; an attention block returns its output first, then its weights."""
        self._whole = output[0] if isinstance(output, tuple) else output

    def gather(self, layer: int, module: nn.Module, inputs: Any, output: Any) -> None:
        """The hook of decoder layer `layer`: keep `[b, positions[b]]` of its block's output, drop the rest."""
        if self._whole is not None:
            whole = self._whole if self._keeps_gradient else self._whole.detach()
            self._by_layer[layer] = whole[self._rows, self._positions]
        self._whole = None

    def stack(self) -> Tensor:
        """`F [B, L, D]`, or `[B, n, L, D]`, in the model's dtype.

        Raises:
            UnsupportedModel: a layer's block did not run, so that its output is missing.
        """
        recorded = [output for output in self._by_layer if output is not None]
        if len(recorded) != len(self._by_layer):
            missing = [layer for layer, output in enumerate(self._by_layer) if output is None]
            raise UnsupportedModel(
                f"the blocks of layers {missing} did not run in a forward pass over {len(self._by_layer)} layers; the "
                "model skips layers or calls its blocks in another way, and needs its own row in FAMILIES in "
                "cc_tuning/model/families.py"
            )
        return torch.stack(recorded, dim=-2)


def rows_beside(positions: Tensor) -> Tensor:
    """The row of each of `positions [B]` or `[B, n]`, to index a batch with; `[B]` or `[B, 1]`."""
    rows = torch.arange(positions.shape[0], device=positions.device)
    return rows if positions.dim() == 1 else rows[:, None]


@contextmanager
def recorded_activations(
    components: Components, source: ActivationSource, positions: Tensor, keeps_gradient: bool = True
) -> Iterator[Activations]:
    """A record of the source's output in each layer at `positions [B]` or `[B, n]` in the pass inside the block.

    The output is taken at the components' site, before it is added to the residual.
    """
    outputs = Activations(positions, len(components.layers), keeps_gradient)
    # Hooks run in the order in which they were registered: for the source `block`, `keep` has to come before `gather`.
    handles = [block.register_forward_hook(outputs.keep) for block in components.blocks(source)]
    handles += [
        layer.register_forward_hook(partial(outputs.gather, number)) for number, layer in enumerate(components.layers)
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def last_ffn_at(components: Components, positions: Tensor) -> Iterator[None]:
    """The last layer's feed-forward block computed at `positions [B]` or `[B, n]` only, in passes inside the block.

    Its output keeps its shape `[B, T, D]`, with the one result repeated or n results among zeros, so the layer's output
    is right at `positions` and means nothing elsewhere. For passes without gradient; enter it before hooks that read.
    """
    ffn, rows, is_one = components.ffns[-1], rows_beside(positions), positions.dim() == 1
    columns = 1

    def narrow(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal columns
        hidden, *others = inputs
        columns = hidden.shape[1]
        at = hidden[rows, positions]
        return at[:, None] if is_one else at, *others

    def widen(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if is_one:
            return output.expand(-1, columns, -1)
        return output.new_zeros(output.shape[0], columns, output.shape[2]).index_put((rows, positions), output)

    handles = [ffn.register_forward_pre_hook(narrow), ffn.register_forward_hook(widen)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
