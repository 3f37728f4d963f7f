"""Reading what the feed-forward blocks put out at one position per row, through hooks that leave no trace."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning.errors import UnsupportedModel


class FfnOutputs:
    """What one forward pass left: `f_l` at the chosen position of each row, for every layer."""

    def __init__(self, positions: Tensor, layers: int) -> None:
        self._rows = torch.arange(positions.shape[0], device=positions.device)
        self._positions = positions
        self._by_layer: list[Tensor | None] = [None] * layers

    def record(self, layer: int, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """The forward hook of layer `layer`: keep `output[b, positions[b]]`, drop the rest."""
        self._by_layer[layer] = output[self._rows, self._positions]

    def stack(self) -> Tensor:
        """`F [B, L, D]` in the model's dtype.

        Raises:
            UnsupportedModel: a layer's block did not run, so that its output is missing.
        """
        recorded = [output for output in self._by_layer if output is not None]
        if len(recorded) != len(self._by_layer):
            missing = [layer for layer, output in enumerate(self._by_layer) if output is None]
            raise UnsupportedModel(
                f"the feed-forward blocks of layers {missing} did not run in a forward pass over "
                f"{len(self._by_layer)} layers; the model skips layers or calls its blocks in another way, and "
                "needs its own row in FAMILIES in cc_tuning/model/families.py"
            )
        return torch.stack(recorded, dim=1)


@contextmanager
def recorded_ffn_outputs(ffns: Sequence[nn.Module], positions: Tensor) -> Iterator[FfnOutputs]:
    """A record of each block's output at `positions [B]` during the forward pass inside the block.

    The output is the block's own, before it is added to the residual.
    """
    outputs = FfnOutputs(positions, len(ffns))
    handles = [ffn.register_forward_hook(partial(outputs.record, layer)) for layer, ffn in enumerate(ffns)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
