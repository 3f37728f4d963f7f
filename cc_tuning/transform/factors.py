"""A map in two factors, put together from what a fit in the dual found for scaled rows.

Features and targets were taken about means and divided by their layers' scales (`scaled_rows.py`), and the map between
them is `U V`. The stored factors take raw activations: each layer of `U` is divided by its scale, each of `V`
multiplied, and with the means by group, `b_q = B̄_q − Ā_q U V`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.folds import ChosenRidge
from cc_tuning.transform.groups import Groups
from cc_tuning.transform.scaled_rows import ScaledRows
from cc_tuning.transform.solve import TransformFit
from cc_tuning.transform.spool import ActivationSpool


@dataclass(frozen=True)
class DualFit:
    """The factored map in float32, how it was fitted, and the choice of its ridge where that was by folds."""

    transform: TransformMatrix
    fit: TransformFit
    english_mean: Tensor
    """The mean of the fitted rows of B over all layers, `[D]` float64."""
    chosen: ChosenRidge | None


@dataclass(frozen=True)
class Sides:
    """The rows that are read and those that are predicted, of the layers in `fitted`."""

    features: ScaledRows
    targets: ScaledRows
    fitted: Sequence[int]
    """The layers of targets that a map is fitted to; the others are predicted by their groups' means."""

    @classmethod
    def of(cls, spool: ActivationSpool, config: FitConfig, groups: Groups, dtype: torch.dtype | None = None) -> "Sides":
        """Those that `config` names."""
        features = "pooled" if config.features == "pooled" else "activations"
        fitted = spool.target_layers(config.targets)
        return cls(
            ScaledRows(spool, features, groups, dtype), ScaledRows(spool, "english_activations", groups, dtype), fitted
        )

    @property
    def english_mean(self) -> Tensor:
        """The mean of B over all layers, `[D]` float64."""
        return torch.stack([self.targets.means[layer] for layer in self.targets.layers]).mean(0)


def factored(
    sides: Sides,
    config: FitConfig,
    languages: tuple[str, ...],
    left: Callable[[int], Tensor],
    right: Callable[[int], Tensor],
) -> TransformMatrix:
    """The map of scaled factors, in float32: `left(layer)` is `[D, r]` of `U`, `right(layer)` `[r, D]` of `V`.

    `languages` are those of the groups if the intercept is one for each.
    """
    features, targets = sides.features, sides.targets
    U, V = [], []
    for layer in features.layers:
        scale = features.scales[layer]
        part = left(layer).double()
        U.append(part / scale if scale else torch.zeros_like(part))
    for layer in targets.layers:
        if layer in sides.fitted:
            V.append(right(layer).double() * targets.scales[layer])
        else:
            V.append(U[0].new_zeros(U[0].shape[1], len(targets.means[layer])))
    output, intercept = torch.cat(V, dim=1), None
    if config.intercept:
        read = [features.group_means[layer] @ of_layer for layer, of_layer in zip(features.layers, U, strict=True)]
        english = torch.stack([targets.group_means[layer] for layer in targets.layers], dim=1)
        intercept = english - (torch.stack(read).sum(0) @ output).view_as(english)
        intercept = intercept if languages else intercept[0]
    factors = TransformMatrix(torch.cat(U), intercept, output, config.features, languages)
    return factors.to(output.device, torch.float32)
