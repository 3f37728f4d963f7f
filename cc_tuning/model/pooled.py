"""The mean over a prompt's tokens of what decoder layers put out, for maps that read more than t*.

A layer's output is the next one's input, so it is caught there: hooks before layers 2 to L see the outputs of layers 1
to L − 1. That of the last layer is left out, since the passes that are made for t* compute its feed-forward block at t*
alone (`hooks.py`); that a map from pooled states does not read it costs nothing there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning.model.families import Components


class PooledStates:
    """The means of one forward pass, layer by layer."""

    def __init__(self, counted: Tensor, layers: int) -> None:
        self._counted = counted
        self._by_layer: list[Tensor | None] = [None] * (layers - 1)

    def keep(self, layer: int, module: nn.Module, inputs: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        """The hook before decoder layer `layer`, of 1 to L - 1."""
        hidden: Tensor = inputs[0] if inputs else arguments["hidden_states"]
        weights = self._counted.to(hidden.device, torch.float32).unsqueeze(-1)
        self._by_layer[layer - 1] = (hidden.float() * weights).sum(1) / weights.sum(1)

    def stack(self) -> Tensor:
        """`[B, L - 1, D]` float32."""
        kept = [states for states in self._by_layer if states is not None]
        assert len(kept) == len(self._by_layer)
        return torch.stack(kept, dim=1)


@contextmanager
def recorded_pooled_states(components: Components, counted: Tensor) -> Iterator[PooledStates]:
    """The means over the tokens that `counted [B, T]` bool says, in the forward pass inside the block."""
    states = PooledStates(counted, len(components.layers))
    handles = [
        layer.register_forward_pre_hook(partial(states.keep, number), with_kwargs=True)
        for number, layer in enumerate(components.layers)
        if number
    ]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def tokens_up_to(positions: Tensor, attention_mask: Tensor) -> Tensor:
    """Which tokens of a prompt count, `[B, T]` bool: those up to t*, without padding."""
    columns = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return attention_mask.bool() & (columns <= positions[:, None])
