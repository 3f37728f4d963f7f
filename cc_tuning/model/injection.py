"""Hooks around a forward pass of an untouched model that add a vector at t*.

Adding puts `f_1 + v` in the place of `f_1` (Ye et al. 2025, eq. 5), or `f_l + v_l` in that of each `f_l`, which is the
variant `connection.target: same`. Which module's output that changes, a decoder layer's or its feed-forward block's, is
the family's matter (`Components.injection_sites`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.families import Components
from cc_tuning.model.hooks import Activations, rows_beside


def add_at_positions(hidden: Tensor, positions: Tensor, vector: Tensor) -> Tensor:
    """`hidden` with `vector[b]` added at `positions[b]` of each row; a new tensor, equal bit for bit elsewhere.

    Shapes: `hidden [B, T, D]`, `positions [B]` int64, `vector [B, D]`, cast to the dtype of `hidden`; or `positions
    [B, n]` and `vector [B, n, D]`.
    """
    if not isinstance(hidden, Tensor):
        raise UnsupportedModel(
            f"a decoder layer or its feed-forward block returned a {type(hidden).__name__} where a tensor [B, T, D] "
            "was expected; the connection was checked with the transformers version pinned in pyproject.toml"
        )
    return hidden.index_put((rows_beside(positions), positions), vector.to(hidden.dtype), accumulate=True)


def added_to(f: Tensor, vector: Tensor, share: float | None, gate: Tensor | None) -> Tensor:
    """What joins the feed-forward output `f [..., D]`: `vector [..., D]` as it is, or `share * ||f|| * vector`, times
    `openness(f, gate)` where there is a `gate [D + 1]`.

    `f` takes no gradient: else a longer one would be rewarded for the vector added to it.
    """
    f = f.detach().float()
    if share is not None:
        vector = share * f.norm(dim=-1, keepdim=True) * vector
    return vector if gate is None else openness(f, gate) * vector


def openness(f: Tensor, gate: Tensor) -> Tensor:
    """`2 sigmoid(w f_hat + b)` `[..., 1]` float32, with `f_hat` as `f [..., D]` with a root mean square of 1.

    `gate [D + 1]` is `w` and behind it `b`. Outputs of one family are a thousand times as large as those of another, so
    what the gate reads is their direction. It is 1 where the gate is zero, to the last bit.
    """
    direction = nn.functional.normalize(f, dim=-1) * f.shape[-1] ** 0.5
    return 2 * ((direction * gate[:-1]).sum(-1, keepdim=True) + gate[-1]).sigmoid()


@contextmanager
def injected(
    components: Components,
    positions: Tensor,
    vector: Tensor,
    share: float | None = None,
    gate: Tensor | None = None,
) -> Iterator[None]:
    """A vector added at `positions [B]` in every forward pass of the block: `vector [B, D]` to what the first layer's
    feed-forward block puts out, or of `[B, L, D]` each to that of its own layer. With `positions [B, n]` the vector is
    `[B, n, D]` or `[B, n, L, D]`.

    It is added as it is, or with a `share` as the direction, of length 1, of a vector of that share of `||f_l||`; `f_l`
    is what the block puts out at the components' site in the same pass. A `gate [1, D + 1]`, or `[L, D + 1]`, reads it
    and decides how much of that is added (`openness`).
    """
    vectors = (vector,) if vector.dim() == positions.dim() + 1 else vector.unbind(-2)
    handles: list[RemovableHandle] = []
    try:
        for layer, of_layer in enumerate(vectors):
            handles += _Addition(positions, of_layer, share, None if gate is None else gate[layer]).hooked(
                components, layer
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Addition:
    """What is added to the feed-forward output of one layer."""

    def __init__(self, positions: Tensor, vector: Tensor, share: float | None, gate: Tensor | None) -> None:
        self._positions, self._vector, self._share, self._gate = positions, vector, share, gate
        self._reads_f = share is not None or gate is not None

    def hooked(self, components: Components, layer: int) -> Iterator[RemovableHandle]:
        """The hooks of `layer`. The block's own comes first, also where the block is the injection site."""
        f = Activations(self._positions, 1, keeps_gradient=False)
        if self._reads_f:
            yield components.blocks("ffn")[layer].register_forward_hook(f.keep)

        def inject(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            added = self._vector
            if self._reads_f:
                f.gather(0, module, inputs, output)
                added = added_to(f.stack()[..., 0, :], added, self._share, self._gate)
            return add_at_positions(output, self._positions, added)

        yield components.injection_sites[layer].register_forward_hook(inject)
