"""Hooks around a forward pass of an untouched model: read its blocks at t*, add a vector there, leave out the rest.

Reading takes two hooks per layer. The one on the block keeps its output and computes nothing: under gradient
checkpointing a layer's forward runs a second time in the backward pass, when the hooks are gone, and an operation of
theirs would be missed there. The one on the decoder layer, which runs outside of what is recomputed, takes the position
out and lets the rest go, so one whole output is held at a time. With this, gradients through the activations are exact
with and without checkpointing.

Adding puts `f_1 + v` in the place of `f_1` (Ye et al. 2025, eq. 5). Which module's output that changes, the first
decoder layer or its feed-forward block, is the family's matter (`Components.injection_site`).

Leaving out is for passes that are made for activations at t* and for the KV cache. After the last layer's attention no
position sees another one any more, and its keys and values are in the cache by then. So the last feed-forward block is
computed at t* alone: with L layers that saves about two thirds of 1/L of the pass, which is more than a connected
prompt's additional decode step costs.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.config import ActivationSource
from cc_tuning.model.families import Components


class Activations:
    """The trace of one forward pass: the source's output at the chosen position of each row, for every layer.

    `keeps_gradient` says whether it has a part in the pass's gradient.
    """

    def __init__(self, positions: Tensor, layers: int, keeps_gradient: bool = True) -> None:
        self._keeps_gradient = keeps_gradient
        self._rows = torch.arange(positions.shape[0], device=positions.device)
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
        """`F [B, L, D]` in the model's dtype.

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
        return torch.stack(recorded, dim=1)


@contextmanager
def recorded_activations(
    components: Components, source: ActivationSource, positions: Tensor, keeps_gradient: bool = True
) -> Iterator[Activations]:
    """A record of the source's output in each layer at `positions [B]` during the forward pass inside the block.

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


@contextmanager
def injected_direction(components: Components, positions: Tensor, direction: Tensor, share: float) -> Iterator[None]:
    """`share * ||f_1|| * direction [B, D]` added at `positions [B]` of the injection site, in the passes of the block.

    `f_1 [B, D]` is what the first layer's feed-forward block puts out there in the same pass, at the components' site.
    It gives a length and takes no gradient: else a longer `f_1` would be rewarded for the vector added to it.
    """
    first = Activations(positions, 1, keeps_gradient=False)

    def inject(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        first.gather(0, module, inputs, output)
        length = first.stack()[:, 0].float().norm(dim=-1, keepdim=True)
        return add_at_positions(output, positions, share * length * direction)

    # The block's own hook comes first, also where the block is the injection site.
    handles = [components.blocks("ffn")[0].register_forward_hook(first.keep)]
    handles.append(components.injection_site.register_forward_hook(inject))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def injected(
    components: Components, positions: Tensor, vector: Tensor, share: float | None
) -> AbstractContextManager[None]:
    """`vector [B, D]` added as it is, or with a `share` as the direction of a vector of that share of `||f_1||`."""
    if share is None:
        return injected_vector(components.injection_site, positions, vector)
    return injected_direction(components, positions, vector, share)


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
