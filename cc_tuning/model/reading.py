"""A language model whose activations at t* are read: the passes with nothing added.

A connection is built on them ([`connected_pass.py`](connected_pass.py)), the Transform Matrix is fitted on them, and
generation begins with one.
"""

from contextlib import nullcontext

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.families import Components, find_components
from cc_tuning.model.hooks import last_ffn_at, recorded_activations, rows_beside
from cc_tuning.model.pooled import recorded_pooled_states, tokens_up_to
from cc_tuning.model.positions import check_positions, position_ids_of
from cc_tuning.model.several_positions import in_a_row, last_positions
from cc_tuning.model.wrapped_model import WrappedModel


class ReadingModel(WrappedModel):
    """A causal language model, `base`, of which `connection` says what is read, and where.

    Raises:
        UnsupportedModel: the connection does not know the family of `base`.
    """

    def __init__(self, base: PreTrainedModel, connection: ConnectionConfig) -> None:
        super().__init__(base)
        find_components(base, connection.site)
        self.connection = connection

    @property
    def components(self) -> Components:
        """The modules of `base` that the connection touches, at its site."""
        return find_components(self.base, self.connection.site)

    @property
    def read_activations(self) -> int:
        """How many activations are read of a prompt: one in each of the L layers, at each connected position."""
        return self.connection.positions * int(self.config.num_hidden_layers)

    def connected_positions(self, positions: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where rows with t* at `positions [B]` are connected: `positions`, or with `connection.positions` n above 1
        `[B, n]`, and which of those are tokens, `[B, n]` bool.
        """
        if self.connection.positions == 1:
            return positions, None
        return last_positions(positions, attention_mask, self.connection.positions)

    def embed(self, ids: Tensor) -> Tensor:
        """The input embedding of each id, `[...]` int64 -> `[..., D]` in the model's dtype."""
        embedding: Tensor = self.base.get_input_embeddings()(ids)
        return embedding

    def embed_connected(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        """`e [B, D]` of the tokens at t*, `positions [B]`, or `[B, n, D]` of those at n positions."""
        at, _ = self.connected_positions(positions, attention_mask)
        return self.embed(input_ids[rows_beside(at), at])

    @torch.no_grad()
    def activations(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        """`F [B, L, D]`: the source's activation in each layer at `positions [B]`, without a connection. With
        `connection.positions` n above 1 it is `[B, n L, D]`, as `several_positions.py` says.

        The decoder alone, no gradient, in the model's dtype. `input_ids, attention_mask [B, T]`, padded on either
        side. The source is `connection.source`, by default the feed-forward block, read at `connection.site`.

        Raises:
            PromptNotFound: a position is outside its row or on padding.
        """
        return self._read(input_ids, attention_mask, positions)[0]

    @torch.no_grad()
    def activations_with_pooled(
        self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`F [B, L, D]` as `activations` gives it, and the pooled states `[B, L−1, D]` float32 of the same pass: the
        mean over the tokens up to t* of the output of each decoder layer but the last.

        Raises:
            PromptNotFound: a position is outside its row or on padding.
            ConfigError: several positions are connected, for which a prompt's mean says one thing only.
        """
        if self.connection.positions > 1:
            raise ConfigError(
                f"transform.features 'pooled' with connection.positions {self.connection.positions}: a mean over the "
                "prompt is the same for each of its positions. Fit with `transform.features: layer` or `all_layers`"
            )
        counted = tokens_up_to(positions, attention_mask)
        with recorded_pooled_states(self.components, counted) as states:
            own = self.activations(input_ids, attention_mask, positions)
        return own, states.stack()

    def _read(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """`F [B, L, D]` and the decoder's last hidden states `[B, T, D]`."""
        check_positions(positions, attention_mask, "activation")
        components = self.components
        positions, present = self.connected_positions(positions, attention_mask)
        recorded = recorded_activations(components, self.connection.source, positions)
        # With a gradient, recomputation would miss the hooks.
        narrowed = nullcontext() if torch.is_grad_enabled() else last_ffn_at(components, positions)
        with narrowed, recorded as outputs:
            hidden = components.decoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids_of(attention_mask),
                use_cache=False,
            ).last_hidden_state
        activations = outputs.stack()
        return activations if present is None else in_a_row(activations, present), hidden

    def read_english(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        """`F_en [B, L, D]`, with a gradient if `connection.english_gradient` says so.

        The last hidden states join it with a weight of zero. Nothing else would be derived through what follows the
        last block read, and a sharded model (FSDP2, ZeRO-3) expects a backward pass wherever there was a forward pass.
        """
        if not self.connection.english_gradient:
            return self.activations(input_ids, attention_mask, positions)
        english, hidden = self._read(input_ids, attention_mask, positions)
        return english + 0 * hidden.sum()

    def read_own(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        """`F [B, L, D]` of the prompts in training sequences `[B, T]`: a pass that ends with the last t*."""
        read = int(positions.max()) + 1
        return self.activations(input_ids[:, :read], attention_mask[:, :read], positions)
