"""The method in one `nn.Module`: an untouched causal language model, a selector, and hooks around a pass.

`forward` does the English pass, the decision and the connected pass, so that a wrapper such as
DistributedDataParallel sees one call. It trains under `transformers.Trainer` as it is. By default the English pass
carries no gradient: that is what the authors' shipped configuration computes (its re-entrant checkpointing builds that
pass without a graph), and it is cheaper than keeping it. `connection.english_gradient` keeps it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.decision_maker import Decision, build_selector
from cc_tuning.model.hooks import Activations, recorded_activations, rows_beside
from cc_tuning.model.injection import injected
from cc_tuning.model.normalisation import ActivationNormalisation
from cc_tuning.model.positions import check_positions, key_of_rows, position_ids_of
from cc_tuning.model.predicted import EnglishPrediction
from cc_tuning.model.reading import ReadingModel
from cc_tuning.model.several_positions import decided_at_each, in_a_row, only_where
from cc_tuning.model.transform_matrix import TransformMatrix


@dataclass
class CrossLingualOutput(ModelOutput):
    """The result of `forward`. The selection tensors are float32 and carry no gradient; they are for logging."""

    loss: Tensor | None = None  # scalar, when labels were given
    logits: Tensor | None = None  # [B, T, V], the last K positions of T, or [N, V] with the head at N of them
    selection: Tensor | None = None  # g [B, L]
    selection_probabilities: Tensor | None = None  # softmax(H / tau), without noise [B, L]
    selection_cosine: Tensor | None = None  # of v and the same layer's own activation [B], when it was asked for
    unconnected_logits: Tensor | None = None  # of the same rows with nothing added, as `logits`, when asked for
    # The prompts' own and their English prompts' activations [B, L, D], without gradient, with `predicted_rows` only.
    own_activations: Tensor | None = None
    english_activations: Tensor | None = None


class ConnectedModel(ReadingModel):
    """A causal language model whose first layer's FFN output gets `v` added at t* (Ye et al. 2025, eq. 3 to 5).

    `base` is the language model, `decision_maker` the selector, `connection` its configuration and `transform_matrix`
    `W_T [D, D]`, or one per layer `[L, D, D]`, float32, or None; `transform_intercept` is `b [D]` or `[L, D]`, or None.
    Neither is part of the state dict: they are fitted after training.
    """

    def __init__(self, base: PreTrainedModel, connection: ConnectionConfig) -> None:
        super().__init__(base, connection)
        hidden_size, layers = base.config.hidden_size, len(self.components.layers)
        self.decision_maker = build_selector(connection, hidden_size, layers, base.config.initializer_range)
        read = connection.positions * layers
        self.normalisation = ActivationNormalisation(connection.normalise, read, hidden_size)
        self.prediction = EnglishPrediction(read, hidden_size) if connection.predicted_share else None
        self.transform_matrix: Tensor | None
        self.transform_intercept: Tensor | None
        self.register_buffer("transform_matrix", None, persistent=False)
        self.register_buffer("transform_intercept", None, persistent=False)
        self.transform_output: Tensor | None
        self.register_buffer("transform_output", None, persistent=False)
        self._transform_form: dict[str, Any] = {}  # what the map is, apart from its tensors

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **arguments: Any
    ) -> None:
        """Recompute decoder layers in the backward pass, but for those inside of which `v` is added.

        Raises:
            ConfigError: re-entrant checkpointing was asked for.
        """
        super().activation_checkpointing_enable(activation_checkpointing_kwargs, **arguments)
        if self.components.injects_inside_layer:
            layers = self.components.layers
            for layer in layers if self.connection.target == "same" else layers[:1]:
                cast(Any, layer).gradient_checkpointing = False

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        connection_positions: Tensor,
        english_input_ids: Tensor,
        english_attention_mask: Tensor,
        english_positions: Tensor,
        labels: Tensor | None = None,
        gumbel_noise: Tensor | None = None,
        measures_cosine: bool = False,
        with_unconnected: bool = False,
        predicted_rows: Tensor | None = None,
        **loss_kwargs: Any,
    ) -> CrossLingualOutput:
        """The loss of a batch with its connection.

        `input_ids, attention_mask, labels [B, T]` hold prompt and response, `english_input_ids,
        english_attention_mask [B, T_en]` the English prompt alone; `connection_positions, english_positions [B]`
        are t* in each. `gumbel_noise [B, L]` replaces the drawn noise. With `measures_cosine` the layers' own
        activations at t* are read in the connected pass, to compare `v` with; `with_unconnected` gives the logits of a
        second pass with nothing added, with its gradient; rows of which `predicted_rows [B]` is true get English
        activations as `prediction` predicts them. `loss_kwargs` reach the base model's loss
        (`num_items_in_batch` from the Trainer: the loss is then a sum over the batch's tokens divided by it), and
        `logits_to_keep=K` computes logits, and takes labels, for the last K positions only.

        Raises:
            PromptNotFound: a position is outside its row or on padding.
        """
        check_positions(connection_positions, attention_mask, "connected")
        real = self.read_english(english_input_ids, english_attention_mask, english_positions)
        own, english = None, real
        if predicted_rows is not None and self.prediction is not None:
            own = self.read_own(input_ids, attention_mask, connection_positions)
            english = self.prediction(own, real, predicted_rows)
        # One look-up for the pass and for `e`: a second one would cost a second gradient of the whole vocabulary.
        embedded = self.embed(input_ids)
        at, present = self.connected_positions(connection_positions, attention_mask)
        embedding = embedded[rows_beside(at), at]
        row_keys = key_of_rows(input_ids, attention_mask, connection_positions)
        decision = self.decide(english, embedding, row_keys, gumbel_noise)
        if present is not None:
            _, english_present = self.connected_positions(english_positions, english_attention_mask)
            assert english_present is not None
            decision = decision._replace(vector=only_where(present & english_present, decision.vector))
        masks = {"attention_mask": attention_mask, "position_ids": position_ids_of(attention_mask)}
        pass_of = partial(self.base, inputs_embeds=embedded, use_cache=False, **masks)
        with self._connected(at, decision, measures_cosine) as own_in_pass:
            output = pass_of(labels=labels, **loss_kwargs)
        unconnected = pass_of(**loss_kwargs).logits if with_unconnected else None
        cosine = None if own_in_pass is None else self._cosine(decision, own_in_pass.stack(), present)
        chosen = (decision.weights.detach(), decision.probabilities, cosine)
        read_rows = (None, None) if own is None else (own, real.detach())
        return CrossLingualOutput(output.loss, output.logits, *chosen, unconnected, *read_rows)

    def _cosine(self, decision: Decision, own: Tensor, present: Tensor | None) -> Tensor:
        """Of what is added at t* and the layers' `own` activations there, `[B]`."""
        if present is None:
            return decision.cosine_to(self.normalisation(own))
        normalised = self.normalisation(in_a_row(own, present))[:, : own.shape[-2]]
        return decision._replace(vector=decision.vector[:, 0]).cosine_to(normalised)

    @contextmanager
    def _connected(self, positions: Tensor, decision: Decision, reads_own: bool) -> Iterator[Activations | None]:
        """Passes inside the block have the decision's vector added at `positions`; with `reads_own`, their own
        activations there, without gradient."""
        components = self.components
        reading = recorded_activations(components, self.connection.source, positions, keeps_gradient=False)
        # Reading is before the injection, whose hook changes what a later hook on the same module sees.
        with (
            reading if reads_own else nullcontext() as own,
            injected(components, positions, decision.vector, self.connection.share, decision.gate),
        ):
            yield own

    def decide(self, source: Tensor, embedding: Tensor, row_keys: Tensor, noise: Tensor | None) -> Decision:
        """The selector's decision from activations `source [B, L, D]` and the embedding `e [B, D]` at t*; with n
        positions, from `[B, n L, D]` and `[B, n, D]`.

        They are normalised first, as `connection.normalise` says; with `connection.scale`, `v` has the length 1 here,
        or the learned one.
        `row_keys [B]` identify the rows for the selector `random`; `noise [B, L]` is for all that choose a layer.

        Raises:
            ConfigError: noise for a selector that chooses none.
        """
        if noise is not None and not self.connection.chooses_layer:
            raise ConfigError(f"got gumbel_noise for the selector {self.connection.selector!r}, which has no noise")
        given = (self.normalisation(source), embedding, row_keys, noise)
        several = self.connection.positions > 1
        decision: Decision = decided_at_each(self.decision_maker, *given) if several else self.decision_maker(*given)
        return decision.with_unit_vector if isinstance(self.connection.scale, float) else decision

    def set_transform_matrix(self, matrix: Tensor, intercept: Tensor | None = None) -> None:
        """Use `matrix [D, D]` as `W_T`, or `[L, D, D]` as one for each layer, with `intercept [D]` or `[L, D]` if there
        is one; both kept in float32 on the model's device.

        Raises:
            UnsupportedModel: the shape is not that of this model, or values are not finite.
        """
        self.set_transform(TransformMatrix(matrix, intercept))

    def set_transform(self, transform: TransformMatrix) -> None:
        """Use a map of any form, in float32 on the model's device.

        Raises:
            UnsupportedModel: the shape is not that of this model, or values are not finite.
        """
        transform = transform.to(self.device, torch.float32)
        transform.check_fits(self.read_activations, self.config.hidden_size)
        self.transform_matrix, self.transform_intercept = transform.matrix, transform.intercept
        self.transform_output = transform.output
        self._transform_form = {"features": transform.features, "languages": transform.languages}

    @property
    def transform(self) -> TransformMatrix | None:
        """The fitted map, or None before one was set."""
        matrix = self.transform_matrix
        if matrix is None:
            return None
        return TransformMatrix(matrix, self.transform_intercept, self.transform_output, **self._transform_form)

    def predicted_english(
        self,
        own: Tensor,
        english_rows: Tensor | None = None,
        pooled: Tensor | None = None,
        languages: Sequence[str] | None = None,
    ) -> Tensor:
        """`F_hat_l = F_l W_l + b_l` `[B, L, D]` float32 (section 3.2.2: one `W`, no `b`); for English `F` if so set.

        `own [B, L, D]` in any dtype, `english_rows [B]` bool. A map from pooled states reads `pooled [B, L−1, D]`; one
        with an intercept for each language takes the rows' FLORES codes, and of English rows, which no pair has, the
        prediction is `F` itself.

        Raises:
            ConfigError: the model has no map, or the map's language is not told or not known.
        """
        if (transform := self.transform) is None:
            raise ConfigError(
                "connection='transform' needs a transform matrix and this model has none; fit one with the transform "
                "stage and pass it to from_pretrained(transform_matrix=...), or use connection='parallel' or 'off'"
            )
        own = own.float()
        with torch.autocast(own.device.type, enabled=False):
            transform = transform.to(own.device, torch.float32)
            places = transform.places_of(languages, own.device) if transform.languages else None
            pooled = None if pooled is None else pooled.float()
            predicted = transform.apply(own, pooled, places)
        if places is not None:
            predicted = torch.where((places < 0)[:, None, None], own, predicted)
        if self.connection.english == "identity" and english_rows is not None:
            return torch.where(english_rows[:, None, None], own, predicted)
        return predicted
