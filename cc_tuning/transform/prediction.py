"""What a fitted map predicts for sampled pairs, whatever it reads of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cc_tuning.model.transform_matrix import MEAN_LANGUAGE, TransformMatrix
from cc_tuning.transform.activations import ActivationBatch


class Predictor:
    """`F_hat [n, L, D]` float64 of batches of a spool, by the map as it is stored (its rounding counts).

    A held-out pair may be in a language that no fitted pair has. Answering refuses such a prompt; here it gets the mean
    of the languages' intercepts, since it is only measured, and the figures within a language leave it out.
    """

    def __init__(
        self,
        transform: TransformMatrix,
        codes: Mapping[str, Sequence[str]] | None,
        device: torch.device,
    ) -> None:
        """`codes`: by split, the FLORES code of each pair in the order in which pairs were given to the spool."""
        transform = transform.to(device, torch.float64)
        self._places: dict[str, Tensor] = {}
        if transform.languages:
            assert codes is not None
            known = set(transform.languages)
            self._places = {
                split: transform.places_of([code if code in known else MEAN_LANGUAGE for code in of], device)
                for split, of in codes.items()
            }
        self._transform = transform

    def __call__(self, split: str, batch: ActivationBatch) -> Tensor:
        places = self._places[split][batch.places] if self._places else None
        pooled = None if batch.pooled is None else batch.pooled.double()
        return self._transform.apply(batch.activations.double(), pooled, places)
