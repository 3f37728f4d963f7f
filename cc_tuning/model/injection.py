"""Hooks around a forward pass of an untouched model that add a vector at t*.

Adding puts `f_1 + v` in the place of `f_1` (Ye et al. 2025, eq. 5), or `f_l + v_l` in that of each `f_l`, which is the
variant `connection.target: same`. Which module's output that changes, a decoder layer's or its feed-forward block's, is
the family's matter (`Components.injection_sites`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.families import Components
from cc_tuning.model.hooks import Activations


def add_at_positions(hidden: Tensor, positions: Tensor, vector: Tensor) -> Tensor:
    """`hidden` with `vector[b]` added at `positions[b]` of each row; a new tensor, equal bit for bit elsewhere.

    Shapes: `hidden [B, T, D]`, `positions [B]` int64, `vector [B, D]`, cast to the dtype of `hidden`.
    """
    if not isinstance(hidden, Tensor):
        raise UnsupportedModel(
            f"a decoder layer or its feed-forward block returned a {type(hidden).__name__} where a tensor [B, T, D] "
            "was expected; the connection was checked with the transformers version pinned in pyproject.toml"
        )
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden.index_put((rows, positions), vector.to(hidden.dtype), accumulate=True)


def added_to(f: Tensor, vector: Tensor, share: float | None) -> Tensor:
    """What joins the feed-forward output `f [B, D]`: `vector [B, D]` as it is, or `share * ||f|| * vector`.

    `f` gives a length and takes no gradient: else a longer one would be rewarded for the vector added to it.
    """
    if share is None:
        return vector
    return share * f.detach().float().norm(dim=-1, keepdim=True) * vector


@contextmanager
def injected(components: Components, positions: Tensor, vector: Tensor, share: float | None = None) -> Iterator[None]:
    """A vector added at `positions [B]` in every forward pass of the block: `vector [B, D]` to what the first layer's
    feed-forward block puts out, or of `[B, L, D]` each to that of its own layer.

    It is added as it is, or with a `share` as the direction, of length 1, of a vector of that share of `||f_l||`; `f_l`
    is what the block puts out at the components' site in the same pass.
    """
    vectors = (vector,) if vector.dim() == 2 else vector.unbind(1)
    handles: list[RemovableHandle] = []
    try:
        for layer, of_layer in enumerate(vectors):
            handles += _Addition(positions, of_layer, share).hooked(components, layer)
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Addition:
    """What is added to the feed-forward output of one layer."""

    def __init__(self, positions: Tensor, vector: Tensor, share: float | None) -> None:
        self._positions, self._vector, self._share = positions, vector, share
        self._reads_f = share is not None

    def hooked(self, components: Components, layer: int) -> Iterator[RemovableHandle]:
        """The hooks of `layer`. The block's own comes first, also where the block is the injection site."""
        f = Activations(self._positions, 1, keeps_gradient=False)
        if self._reads_f:
            yield components.blocks("ffn")[layer].register_forward_hook(f.keep)

        def inject(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            added = self._vector
            if self._reads_f:
                f.gather(0, module, inputs, output)
                added = added_to(f.stack()[:, 0], added, self._share)
            return add_at_positions(output, self._positions, added)

        yield components.injection_sites[layer].register_forward_hook(inject)
