"""The two readings of the rows from t* on: one that keeps the activations there, and one with `v` added.

Where vLLM runs layer by layer, the ordinary forward pass of a step is the first reading. A compiled pass does not stop
for anybody, so there the first reading is a pass of its own behind it, which writes the same keys and values again. The
second one begins behind the first layer, whose keys and values do not depend on `v`, and overwrites those of layers 2
to L. English prompts, where requests bring them, are read in between, each in a pass of its own.

vLLM's decoder layers return what they add last and the residual it has not been added to yet. So the first of the two
is the feed-forward block's contribution, and `f_1 + v` in its place is equation 5 of Ye et al. 2025 in every family.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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


class FirstReading:
    """What a pass with nothing added gives at the rows from t* on.

    Filled by hooks while the pass runs inside the block of `kept`: `activations [R, L, D]` and the first layer's output
    at the site of `v` `[R, D]`, both at t*, and the state behind the first layer `[N, D]` at all rows. Copies, since
    norms work in place.
    """

    def __init__(self) -> None:
        self._own: list[Tensor] = []
        self._at_site: list[Tensor] = []
        self._behind_first: list[tuple[Tensor, Tensor]] = []

    @property
    def activations(self) -> Tensor:
        """`[R, L, D]`."""
        return torch.stack(self._own, dim=1)

    @property
    def at_site(self) -> Tensor:
        """`f_1 [R, D]`."""
        return self._at_site[0]

    @property
    def behind_first(self) -> tuple[Tensor, Tensor]:
        """What the first layer adds last and the residual before it, `[N, D]` each."""
        return self._behind_first[0]

    @contextmanager
    def kept(
        self, decoder: Any, connection: Connection, blocks: Blocks, rows: Tensor, places: Tensor
    ) -> Iterator["FirstReading"]:
        """Keep what passes of `decoder` give at `rows [N]` of their batch, of which `rows[places]` are t* `[R]`."""
        layers: Sequence[Any] = list(decoder.layers)
        read = [blocks.read(connection, layer) for layer in layers]
        ends = rows[places]

        def keep_state(module: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
            self._behind_first.append((output[0][rows], output[1][rows]))

        with (
            recorded(read, ends, self._own),
            recorded([blocks.at_site(connection, layers[0])], ends, self._at_site),
            hooked([layers[0]], keep_state),
        ):
            yield self


@torch.inference_mode()
def connected_states(
    decoder: Any, connection: Connection, blocks: Blocks, rows: Rows, first: FirstReading | None
) -> Tensor:
    """The final hidden states `[N, D]` of the rows, with `v` added at t*; attention metadata is that of these rows.

    `decoder` is vLLM's model without its language-model head; `first` the reading that the step's own pass was, or None
    where it could not be watched.
    """
    layers: Sequence[Any] = list(decoder.layers)
    if first is None:
        first = _read_rows(decoder, connection, blocks, rows)
    activations = first.activations
    for place, token_ids in rows.english.items():
        activations[place] = english_activations(decoder, connection, blocks, token_ids)
    embedding = decoder.embed_input_ids(rows.input_ids[rows.places])
    vector = connection(activations, embedding, rows.row_keys, rows.keeps_own)
    hidden, residual = first.behind_first
    hidden[rows.places] = _contribution(connection, blocks, layers[0], first.at_site, vector)
    for layer in layers[1:]:
        hidden, residual = layer(rows.positions, hidden, residual)
    return decoder.norm(hidden, residual)[0]


def _read_rows(decoder: Any, connection: Connection, blocks: Blocks, rows: Rows) -> FirstReading:
    """The first reading, in a pass over the rows alone."""
    hidden, residual = decoder.embed_input_ids(rows.input_ids), None
    everyone = torch.arange(len(rows.input_ids), device=rows.input_ids.device)
    with FirstReading().kept(decoder, connection, blocks, everyone, rows.places) as first:
        for layer in decoder.layers:
            hidden, residual = layer(rows.positions, hidden, residual)
    return first


def english_activations(decoder: Any, connection: Connection, blocks: Blocks, token_ids: Tensor) -> Tensor:
    """`F_en [L, D]` at the last of an English prompt's `token_ids [T_en]`, in a pass of its own."""
    layers: Sequence[Any] = list(decoder.layers)
    hidden, residual = decoder.embed_input_ids(token_ids), None
    positions = torch.arange(len(token_ids), device=token_ids.device)
    attentions = [layer.get_submodule(f"{blocks.attention}.attn") for layer in layers]
    read = [blocks.read(connection, layer) for layer in layers]
    own: list[Tensor] = []
    with attending_without_cache(attentions), recorded(read, positions[-1:], own):
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
def recorded(modules: Sequence[nn.Module], places: Tensor, outputs: list[Tensor]) -> Iterator[None]:
    """Append the outputs of the modules at `places [R]`, in the order in which they run inside the block; copies.

    A decoder layer returns two parts of its output, whose sum is recorded.
    """

    def keep(module: nn.Module, inputs: Any, output: Tensor | tuple[Tensor, Tensor]) -> None:
        outputs.append(output[0][places] + output[1][places] if isinstance(output, tuple) else output[places])

    with hooked(modules, keep):
        yield


@contextmanager
def hooked(modules: Sequence[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    """Call `hook` with the outputs of the modules that run inside the block."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
