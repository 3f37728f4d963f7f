"""Adding the connection vector in the forward pass, at one position per row.

Eq. 5 of Ye et al. 2025 puts `f_1 + v` in the place of `f_1`. Which module's output that changes, the first decoder
layer or its feed-forward block, is the family's matter (`Components.injection_site`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning.errors import UnsupportedModel


def add_at_positions(hidden: Tensor, positions: Tensor, vector: Tensor) -> Tensor:
    """`hidden` with `vector[b]` added at `positions[b]` of each row; a new tensor, equal bit for bit elsewhere.

    Shapes: `hidden [B, T, D]`, `positions [B]` int64, `vector [B, D]`, cast to the dtype of `hidden`.
    """
    if not isinstance(hidden, Tensor):
        raise UnsupportedModel(
            f"the first layer or its feed-forward block returned a {type(hidden).__name__} where a tensor [B, T, D] "
            "was expected; the connection was checked with the transformers version pinned in pyproject.toml"
        )
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden.index_put((rows, positions), vector.to(hidden.dtype), accumulate=True)


@contextmanager
def injected_vector(site: nn.Module, positions: Tensor, vector: Tensor) -> Iterator[None]:
    """`vector [B, D]` added at `positions [B]` of the output of `site` in every forward pass of the block."""

    def inject(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return add_at_positions(output, positions, vector)

    handle = site.register_forward_hook(inject)
    try:
        yield
    finally:
        handle.remove()
