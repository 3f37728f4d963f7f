"""The Transform Matrix from sampled rows, in the form that was asked for: shared or one per layer.

A matrix per layer is fitted on that layer's rows alone, one layer after the other, so that moments take O(D²) memory
whatever the number of layers; only the matrices themselves are held, in the float32 they are stored in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.activations import ActivationBatch
from cc_tuning.transform.config import TransformConfig
from cc_tuning.transform.diagnostics import PredictionErrors
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import TransformFit, fit_transform_matrix
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool


@dataclass(frozen=True)
class FittedTransform:
    """The map in float32, how it was fitted, and the mean of the rows it was fitted to."""

    transform: TransformMatrix
    fits: Sequence[TransformFit]
    """One for a shared matrix, otherwise one per layer; their matrices are float32."""
    english_mean: Tensor
    """The mean of the fitted rows of B over all layers, `[D]` float64."""

    def summary(self) -> dict[str, Any]:
        """Figures of the fit, flat. With a matrix per layer, `layer_…` holds each, and the plain name what is worst:
        the least rank, the largest condition number and ridge, `eigenvalues` if any was solved so.
        """
        worst = {
            "rank": min, "ridge": max, "relative_ridge": max, "condition_number": max, "solver": max, "gcv_score": max,
        }  # fmt: skip
        figures: dict[str, Any] = {"rows": sum(fit.rows for fit in self.fits)}
        for name, of in worst.items():
            values = [getattr(fit, name) for fit in self.fits]
            if values[0] is None:
                continue
            figures[name] = of(values)
            if len(values) > 1:
                figures[f"layer_{name}"] = values
        return figures


def fit_spooled(spool: ActivationSpool, config: TransformConfig) -> FittedTransform:
    """The map that `config` asks for, from all rows of the split `fit`.

    Raises:
        TransformFailed: every row of a matrix is zero, or a sum is not finite.
    """
    fits, means = [], []
    for layers in spool.parts(config.matrix):
        moments = StreamingMoments(spool.hidden_size, spool.device)
        add_rows(moments, spool.batches(FIT, layers))
        fits.append(stored(fit_transform_matrix(moments, config.ridge, config.intercept)))
        means.append(moments.english_mean)
    transform = _stacked(fits) if config.matrix == "per_layer" else TransformMatrix(fits[0].matrix, fits[0].intercept)
    return FittedTransform(transform, fits, means[0] if len(means) == 1 else torch.stack(means).mean(0))


def measure(spool: ActivationSpool, fitted: FittedTransform) -> Mapping[str, Any]:
    """The errors on fitted pairs, and on held-out pairs with the prefix `held_out_`, with the number of each."""
    figures: dict[str, Any] = {}
    for split, prefix in ((FIT, ""), (HELD_OUT, "held_out_")):
        errors = PredictionErrors(fitted.transform, fitted.english_mean, spool.layers)
        for batch in spool.batches(split):
            errors.update(batch.activations, batch.english_activations)
        figures |= {f"{prefix}pairs": errors.pairs}
        figures |= errors.report(prefix) if errors.pairs else {}
    return figures


def add_rows(moments: StreamingMoments, batches: Iterator[ActivationBatch]) -> None:
    """Add every layer of every pair as a row."""
    for batch in batches:
        moments.update(batch.activations.flatten(0, 1), batch.english_activations.flatten(0, 1))


def stored(fit: TransformFit) -> TransformFit:
    """The fit with its map in float32, as it is written to disk."""
    intercept = None if fit.intercept is None else fit.intercept.float()
    return replace(fit, matrix=fit.matrix.float(), intercept=intercept)


def _stacked(fits: Sequence[TransformFit]) -> TransformMatrix:
    """One map per layer from those of the layers."""
    intercepts = [fit.intercept for fit in fits if fit.intercept is not None]
    return TransformMatrix(torch.stack([fit.matrix for fit in fits]), torch.stack(intercepts) if intercepts else None)
