"""Leaving out what nobody reads in a pass that is made for activations at t* and for the KV cache.

After the last layer's attention no position sees another one any more, and its keys and values are in the cache by
then. So the last feed-forward block is computed at t* alone: with L layers that saves about two thirds of 1/L of the
pass, which is more than a connected prompt's additional decode step costs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning.model.families import Components


@contextmanager
def last_ffn_at(components: Components, positions: Tensor) -> Iterator[None]:
    """The last layer's feed-forward block computed at `positions [B]` only, during the passes inside the block.

    Its output keeps its shape `[B, T, D]` with the one result repeated, so the layer's output is right at
    `positions` and means nothing elsewhere. For passes without gradient; enter it before the hooks that read.
    """
    ffn, rows = components.ffns[-1], torch.arange(positions.shape[0], device=positions.device)
    columns = 1

    def narrow(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal columns
        hidden, *others = inputs
        columns = hidden.shape[1]
        return hidden[rows, positions][:, None], *others

    def widen(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.expand(-1, columns, -1)

    handles = [ffn.register_forward_pre_hook(narrow), ffn.register_forward_hook(widen)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
