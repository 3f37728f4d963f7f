"""The worth of the Transform Matrix, measured on rows: train and held-out, per layer, beside two baselines.

Errors are summed over the rows themselves in a second look, not derived from the moments, where a small error would
drown in the rounding of large sums. All three predictors are read on one scale:

    MSE = mean over rows and hidden units of (prediction − B)²
    R²  = 1 − MSE / variance,    variance = mean of (B − mean of these rows of B)²

`identity` predicts B by A itself (`W = I`), `mean` by the mean of the fitted rows of B over all layers.
"""

from typing import Any

import torch
from torch import Tensor

from cc_tuning.model.transform_matrix import TransformMatrix

PREDICTORS = ("transform", "identity", "mean")


class PredictionErrors:
    """Squared errors of the three predictors over `[n, L, D]` batches, by layer; float64, O(L·D) beside the matrix."""

    def __init__(self, transform: TransformMatrix, english_mean: Tensor, layers: int) -> None:
        """`transform` as it is stored (its rounding counts), `english_mean [D]` of the fitted rows."""
        self._transform = transform.to(english_mean.device, torch.float64)
        self._english_mean = english_mean = english_mean.to(torch.float64)
        self._squares = {name: english_mean.new_zeros(layers) for name in PREDICTORS}
        self._means = english_mean.new_zeros(layers, len(english_mean))
        self._spread = english_mean.new_zeros(layers)
        self.pairs = 0

    def update(self, activations: Tensor, english_activations: Tensor, predicted: Tensor | None = None) -> None:
        """Add pairs; all `[n, L, D]`, any float dtype. `predicted` is what the map makes of the prompts, where it reads
        more than their activations.
        """
        A, B = activations.to(self._english_mean), english_activations.to(self._english_mean)
        predicted = self._transform.apply(A) if predicted is None else predicted.to(A)
        predictions = {"transform": predicted, "identity": A, "mean": self._english_mean}
        for name, prediction in predictions.items():
            self._squares[name] += (prediction - B).square().sum(dim=(0, 2))
        self._add_spread(B)

    def report(self, prefix: str = "") -> dict[str, Any]:
        """The figures by name, flat: `mse`, `r2`, `identity_mse`, `identity_r2`, `mean_mse`, `mean_r2`, `variance`, and
        the same per layer as lists, `layer_…`; `prefix` goes before each name. R² is None where B does not vary.
        """
        units = max(self.pairs, 1) * self._means.shape[1]
        layers = len(self._spread)
        spread = self._spread.sum() + self.pairs * (self._means - self._means.mean(0)).square().sum()
        figures: dict[str, Any] = {"variance": float(spread) / (units * layers)}
        figures["layer_variance"] = (self._spread / units).tolist()
        for name, squares in self._squares.items():
            owner = "" if name == "transform" else f"{name}_"
            figures[f"{owner}mse"] = float(squares.sum()) / (units * layers)
            figures[f"{owner}r2"] = _r2(float(squares.sum()), float(spread))
            figures[f"layer_{owner}mse"] = (squares / units).tolist()
            figures[f"layer_{owner}r2"] = list(map(_r2, squares.tolist(), self._spread.tolist()))
        return {prefix + name: value for name, value in figures.items()}

    def _add_spread(self, B: Tensor) -> None:
        """Merge a batch's means and squared deviations into the running ones (Chan et al. 1983, eq. 2.1)."""
        count, batch_means = len(B), B.mean(0)
        total = self.pairs + count
        shift = batch_means - self._means
        self._spread += (B - batch_means).square().sum(dim=(0, 2))
        self._spread += shift.square().sum(1) * self.pairs * count / total
        self._means += shift * count / total
        self.pairs = total


def _r2(squares: float, spread: float) -> float | None:
    return 1 - squares / spread if spread > 0 else None
