"""Which layers the Decision Maker chooses for the sampled pairs, and what becomes of its choice under a map.

A map of `targets: chosen` predicts only the layers that were chosen for at least one fitted pair from its real English
activations, without noise. At inference the choice is made from predictions, in which the other layers are constants,
and may fall on one of those: how often it does, and how often it is what it would be with the English prompt, is
measured on held-out pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cc_tuning.errors import ConfigError
from cc_tuning.model import CrossLingualModel
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.text.prompts import connection_position
from cc_tuning.transform.activations import SampledPair
from cc_tuning.transform.prediction import Predictor
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool


class Choices:
    """The choices of a checkpoint's Decision Maker; of the model only that and the pairs' embeddings are kept."""

    def __init__(self, model: CrossLingualModel, sides: Mapping[str, Sequence[SampledPair]]) -> None:
        """`sides` are the pairs of each split, in the order in which they were given to the spool.

        Raises:
            ConfigError: the checkpoint's selector chooses no layer by the prompt.
        """
        if model.connection.selector != "decision_maker":
            raise ConfigError(
                f"transform.targets 'chosen': the checkpoint's connection.selector is {model.connection.selector!r}, "
                "which has no choice of layers that a prompt decides. Use `transform.targets: all`"
            )
        if model.connection.positions > 1:
            raise ConfigError(
                f"transform.targets 'chosen': the checkpoint's connection.positions is {model.connection.positions}, "
                "and each position chooses for itself. Use `transform.targets: all`"
            )
        self._selector, self._normalisation = model.decision_maker, model.normalisation
        self._embeddings = {split: _embedded(model, pairs) for split, pairs in sides.items()}

    def from_english(self, spool: ActivationSpool, split: str) -> Tensor:
        """The layer chosen for each pair from its English activations, `[N]` int64."""
        return self._chosen(split, ((batch.places, batch.english_activations) for batch in spool.batches(split)))

    def counts(self, spool: ActivationSpool) -> list[int]:
        """For how many fitted pairs each layer is chosen, `[L]`."""
        return torch.bincount(self.from_english(spool, FIT), minlength=spool.layers).tolist()

    def measure(
        self, spool: ActivationSpool, transform: TransformMatrix, codes: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """`held_out_same_choice`, the share of held-out pairs for which the same layer is chosen from the predictions
        of `transform` as from English activations, and `held_out_choice_of_constant`, for which a layer is that is not
        in `spool.chosen_layers`; None without held-out pairs. `codes` are FLORES codes by split.
        """
        if not spool.pairs[HELD_OUT]:
            return {"held_out_same_choice": None, "held_out_choice_of_constant": None}
        predicted = Predictor(transform, codes, spool.device)
        batches = ((batch.places, predicted(HELD_OUT, batch).float()) for batch in spool.batches(HELD_OUT))
        chosen = self._chosen(HELD_OUT, batches)
        fitted = torch.tensor(spool.chosen_layers, device=chosen.device)
        return {
            "held_out_same_choice": float((chosen == self.from_english(spool, HELD_OUT)).double().mean()),
            "held_out_choice_of_constant": float((~torch.isin(chosen, fitted)).double().mean()),
        }

    @torch.no_grad()
    def _chosen(self, split: str, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        embeddings = self._embeddings[split]
        layers = torch.zeros(len(embeddings), dtype=torch.int64, device=embeddings.device)
        for places, activations in batches:
            source = self._normalisation(activations)
            layers[places] = self._selector(source, embeddings[places], places, None).selected_layer
        return layers


@torch.no_grad()
def _embedded(model: CrossLingualModel, pairs: Sequence[SampledPair]) -> Tensor:
    """The input embedding of the token at t* of each prompt, `[N, D]`."""
    at = [pair.input_ids[connection_position(len(pair.input_ids), model.connection.offset)] for pair in pairs]
    return model.embed(torch.tensor(at, dtype=torch.int64, device=model.device))
