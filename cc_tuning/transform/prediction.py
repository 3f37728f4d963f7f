"""What a fitted map predicts for sampled pairs, whatever it reads of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cc_tuning.model.transform_matrix import TransformMatrix
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
            assert transform.intercept is not None and codes is not None
            order = {code: place for place, code in enumerate(transform.languages)}
            self._places = {
                split: torch.tensor([order.get(code, len(order)) for code in of], dtype=torch.int64, device=device)
                for split, of in codes.items()
            }
            mean = transform.intercept.mean(0, keepdim=True)
            transform = replace(transform, intercept=torch.cat([transform.intercept, mean]))
        self._transform = transform

    def __call__(self, split: str, batch: ActivationBatch) -> Tensor:
        places = self._places[split][batch.places] if self._places else None
        pooled = None if batch.pooled is None else batch.pooled.double()
        return self._transform.apply(batch.activations.double(), pooled, places)
