"""The model with a cross-lingual connection as people use it: make, train, save, load, generate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from cc_tuning.errors import ConfigError
from cc_tuning.model import checkpoint
from cc_tuning.model.config import ConnectionConfig, ConnectionMode
from cc_tuning.model.connected_pass import ConnectedModel
from cc_tuning.model.decision_maker import Decision
from cc_tuning.model.generation import Generation, generate, generate_connected
from cc_tuning.model.positions import Prompts, key_of_rows
from cc_tuning.model.prompt_pass import Choice, FromOwn
from cc_tuning.model.several_positions import only_where
from cc_tuning.model.transform_file import check_fitted_on, read_transform_matrix
from cc_tuning.runtime.provenance import library_versions


class CrossLingualModel(ConnectedModel):
    """A causal language model with a cross-lingual connection. `forward` is that of `ConnectedModel`.

    `base` is the language model, `decision_maker` the selector, `connection` its configuration and `transform_matrix`
    `W_T` float32 or None. Without a call to `eval()` or `train()` a loaded model is in evaluation mode.
    """

    # -- making, saving, loading

    @classmethod
    def from_base(cls, base: PreTrainedModel, connection: ConnectionConfig) -> Self:
        """A model to train: `base` with a fresh selector, drawn from torch's generator.

        Raises:
            UnsupportedModel: the family of `base` has no connection.
        """
        return cls(base, connection)

    def save_pretrained(
        self,
        directory: Path | str,
        stop_token_ids: Sequence[int] = (),
        fingerprints: Mapping[str, str] | None = None,
    ) -> None:
        """Write an ordinary Hugging Face directory plus the connection's two files.

        `stop_token_ids` end a response (end of turn, end of text) and become the directory's generation default;
        `fingerprints` say what the model was made from. The tokenizer is saved by who has it.
        """
        description = self._description(stop_token_ids, fingerprints)
        state = self.decision_maker.state_dict()
        parts = checkpoint.ConnectionParts(state, self.transform, self.normalisation.statistics)
        checkpoint.write_checkpoint(Path(directory), self.base, description, parts)

    def save_connection(self, directory: Path | str, selector_state: Mapping[str, Tensor] | None = None) -> None:
        """Write the connection's two files alone, beside an adapter; `selector_state` replaces the selector's own."""
        state = self.decision_maker.state_dict() if selector_state is None else selector_state
        parts = checkpoint.ConnectionParts(state, self.transform, self.normalisation.statistics)
        checkpoint.write_connection(Path(directory), self._description((), None), parts)

    def load_connection(self, directory: Path | str) -> None:
        """Fill selector and normalisation with what `save_connection` or `save_pretrained` wrote.

        Raises:
            ConfigError: the directory has no connection.
            ArtifactMismatch: a file is missing or damaged, or it belongs to another model.
        """
        saved = checkpoint.read_connection(Path(directory))
        checkpoint.load_selector(self.decision_maker, saved, self.config, Path(directory))
        self.normalisation.load(saved.parts.statistics, Path(directory) / checkpoint.CONNECTION_FILE)

    def _description(
        self, stop_token_ids: Sequence[int], fingerprints: Mapping[str, str] | None
    ) -> checkpoint.Description:
        return checkpoint.Description(
            format=checkpoint.FORMAT,
            family=self.config.model_type,
            layers=self.config.num_hidden_layers,
            hidden_size=self.config.hidden_size,
            connection=self.connection,
            stop_token_ids=tuple(stop_token_ids),
            fingerprints=dict(fingerprints or {}),
            versions=library_versions(),
        )

    @classmethod
    def from_pretrained(
        cls,
        directory: Path | str,
        dtype: torch.dtype | str = "auto",
        transform_matrix: Path | str | None = None,
        attention: str = "sdpa",
    ) -> Self:
        """The saved model, in evaluation mode; `transform_matrix` is the file of a transform artifact, `attention` an
        implementation of transformers.

        Raises:
            ConfigError: the directory has no connection, or this machine cannot run that attention.
            ArtifactMismatch: a file is missing or damaged, or the parts do not belong together.
            UnsupportedModel: a transform matrix of another family or size.
        """
        directory = Path(directory)
        saved = checkpoint.read_connection(directory)
        base = checkpoint.read_base_model(directory, dtype, attention)
        model = cls(base, saved.description.connection)
        checkpoint.load_selector(model.decision_maker, saved, base.config, directory)
        model.normalisation.load(saved.parts.statistics, directory / checkpoint.CONNECTION_FILE)
        transform = saved.parts.transform
        if transform_matrix is not None:
            transform = read_transform_matrix(Path(transform_matrix))
            check_fitted_on(Path(transform_matrix), directory, saved.description)
        if transform is not None:
            model.set_transform(transform)
        return model.eval()

    # -- inference

    def generate(self, input_ids: Tensor, attention_mask: Tensor, **arguments: Any) -> Tensor | ModelOutput:
        """The output of `base.generate`, with the connection; arguments as in `generate_with_selection`."""
        return self.generate_with_selection(input_ids, attention_mask, **arguments).output

    @torch.no_grad()
    def generate_with_selection(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        connection: ConnectionMode = "transform",
        english_input_ids: Tensor | None = None,
        english_attention_mask: Tensor | None = None,
        english_rows: Tensor | None = None,
        gumbel_noise: Tensor | None = None,
        languages: Sequence[str] | None = None,
        **arguments: Any,
    ) -> Generation:
        """The continuation of left-padded generation prompts `[B, T]`, and the layer each row was connected with.

        A conversation goes on with `past_key_values`, the cache that `return_dict_in_generate=True` gave back, and
        the ids and mask of all of it: only what is new is read, t* is at the end of the current turn, and what was
        added in earlier turns stays in the cache. The English side is then the whole conversation in English.

        `connection`: `transform` predicts the English activations from the prompt's own, `F W_T`; `parallel` reads
        them from `english_input_ids, english_attention_mask [B, T_en]`, left padded; `off` is the base model alone;
        `identity`, a control, takes the prompt's own activations for English ones.
        `english_rows [B]` bool says which prompts are English, for `connection.english: identity`.
        `languages` are the FLORES codes of the prompts, for a map with an intercept for each language.
        `gumbel_noise [B, L]` is added to the decision (none by default). Other arguments go to `base.generate`.

        Raises:
            ConfigError: a mode without what it needs, arguments of another mode, or a model in training mode.
            PromptNotFound: a prompt is not left padded, or too short to hold t*; or t* is in the cache already.
        """
        english_inputs = (english_input_ids, english_attention_mask)
        self._check_mode(connection, english_inputs, english_rows, gumbel_noise)
        if connection == "off":
            return Generation(generate(self.base, input_ids, attention_mask, arguments), None)
        offset, cache = self.connection.offset, arguments.get("past_key_values")
        if cache is None:
            prompts = Prompts.found_in(input_ids, attention_mask, offset, "connected")
        else:
            prompts = Prompts.continuing(input_ids, attention_mask, offset, cache, self.config)
        english = None
        if english_input_ids is not None and english_attention_mask is not None:
            english = Prompts.found_in(english_input_ids, english_attention_mask, offset, "English")
        choice = self.choice(connection, prompts, english, english_rows, gumbel_noise, languages)
        output, decision = generate_connected(self.base, self.components, self.connection, prompts, choice, arguments)
        return Generation(output, decision.selected_layer if self.connection.chooses_layer else None)

    def choice(
        self,
        connection: ConnectionMode,
        prompts: Prompts,
        english: Prompts | None = None,
        english_rows: Tensor | None = None,
        gumbel_noise: Tensor | None = None,
        languages: Sequence[str] | None = None,
    ) -> Choice:
        """How the vector at t* of each prompt is found: from the `english` prompts now, or from the prompts' own
        activations once they are read, as they are (`identity`) or through the Transform Matrix (`transform`).

        Raises:
            ConfigError: `connection.normalise` without statistics.
        """
        self.normalisation.check_measured()
        ids, mask, positions = prompts.input_ids, prompts.attention_mask, prompts.positions

        def decide(source: Tensor) -> Decision:
            row_keys = key_of_rows(ids, mask, positions)
            return self.decide(source, self.embed_connected(ids, mask, positions), row_keys, gumbel_noise)

        def decide_from_own(own: Tensor, pooled: Tensor | None) -> Decision:
            if connection == "identity":
                return decide(own)
            return decide(self.predicted_english(own, english_rows, pooled, languages))

        if english is None:
            reads_pooled = connection == "transform" and self._transform_form.get("features") == "pooled"
            return FromOwn(decide_from_own, reads_pooled)
        decision = decide(self.activations(english.input_ids, english.attention_mask, english.positions))
        _, present = self.connected_positions(english.positions, english.attention_mask)
        return decision if present is None else decision._replace(vector=only_where(present, decision.vector))

    def _check_mode(
        self,
        connection: str,
        english_inputs: tuple[Tensor | None, Tensor | None],
        english_rows: Tensor | None,
        gumbel_noise: Tensor | None,
    ) -> None:
        if connection not in ("off", "transform", "parallel", "identity"):
            raise ConfigError(
                f"connection={connection!r}: expected 'off', 'transform', 'parallel' or 'identity'; the controls "
                "'constant' and 'other' are for likelihoods alone"
            )
        given = sum(tensor is not None for tensor in english_inputs)
        if given != (2 if connection == "parallel" else 0):
            raise ConfigError(
                f"connection={connection!r} got {given} of english_input_ids and english_attention_mask; "
                "'parallel' takes both, the other modes neither"
            )
        if connection == "off":
            if gumbel_noise is not None:
                raise ConfigError("connection='off' got gumbel_noise, but nothing is decided without a connection")
            return
        if self.training:
            raise ConfigError("generate with a connection on a model in training mode; call eval() first")
        if connection == "transform" and self.connection.english == "identity" and english_rows is None:
            raise ConfigError(
                "this checkpoint has connection.english 'identity': pass english_rows [B] bool, true where the "
                "prompt is English"
            )


def load_checkpoint(
    directory: Path | str,
    dtype: torch.dtype | str = "auto",
    device: torch.device | str = "cpu",
    transform_matrix: Path | str | None = None,
    attention: str = "sdpa",
) -> CrossLingualModel | PreTrainedModel:
    """The model of a run's checkpoint directory: with its connection if it has one, else the plain language model.

    Raises:
        ConfigError: a transform matrix was given for a checkpoint without a connection, or this machine cannot run
            that `attention` of transformers.
    """
    if checkpoint.has_connection(directory):
        return CrossLingualModel.from_pretrained(directory, dtype, transform_matrix, attention).to(device)
    if transform_matrix is not None:
        raise ConfigError(f"{directory} has no cross-lingual connection, so {transform_matrix} cannot be used with it")
    base = checkpoint.read_base_model(Path(directory), dtype, attention)
    nn.Module.to(base, device)
    return base
