"""The error of the Transform Matrix against the number of pairs it is fitted on (Ye et al. 2025, Figure 5).

The fits are nested: each is made on the first M of the fitted pairs, in the order in which they were drawn, so that
moments only grow and each row is added once. All are held against the same held-out pairs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.activations import ActivationBatch
from cc_tuning.transform.config import TransformConfig
from cc_tuning.transform.fitting import FittedTransform, add_rows, stored
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import fit_transform_matrix
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool


@dataclass
class _Squares:
    """Squared errors of a size, summed over layers as they are fitted."""

    fitted: float = 0.0
    held_out: float = 0.0


def sweep(
    spool: ActivationSpool, config: TransformConfig, fitted: FittedTransform, figures: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """`pairs`, `rows`, `mse`, `held_out_mse` (None without held-out pairs) of each size of `config.sweep_pairs` that is
    below the number of fitted pairs, and of all fitted pairs: there `fitted` and its `figures` are taken as they are.
    """
    pairs = spool.pairs[FIT]
    sizes = [size for size in config.sweep_pairs if size < pairs]
    squares = {size: _Squares() for size in sizes}
    for layers in spool.parts(config.matrix):
        _add_part(spool, config, layers, squares)
    points = []
    for size, of in squares.items():
        held_out = of.held_out / _elements(spool, spool.pairs[HELD_OUT]) if spool.pairs[HELD_OUT] else None
        points.append(_point(spool, size, of.fitted / _elements(spool, size), held_out))
    return [*points, _point(spool, pairs, figures["mse"], figures.get("held_out_mse"))]


def _add_part(spool: ActivationSpool, config: TransformConfig, layers: slice, squares: Mapping[int, _Squares]) -> None:
    """Fit and measure the layers of one matrix at every size."""
    moments = StreamingMoments(spool.hidden_size, spool.device)
    before = 0
    for size, of in squares.items():
        add_rows(moments, spool.batches(FIT, layers, range(before, size)))
        assert config.ridge != "cv" and config.intercept != "per_language"  # the config refuses a curve of them
        fit = stored(fit_transform_matrix(moments, config.ridge, config.intercept))
        transform = TransformMatrix(fit.matrix, fit.intercept).to(spool.device, torch.float64)
        of.fitted += _squared_error(transform, spool.batches(FIT, layers, range(size)))
        of.held_out += _squared_error(transform, spool.batches(HELD_OUT, layers))
        before = size


def _squared_error(transform: TransformMatrix, batches: Iterator[ActivationBatch]) -> float:
    total = 0.0
    for batch in batches:
        A, B = (side.to(transform.matrix) for side in (batch.activations, batch.english_activations))
        total += float((transform.apply(A) - B).square().sum())
    return total


def _elements(spool: ActivationSpool, pairs: int) -> int:
    return pairs * spool.layers * spool.hidden_size


def _point(spool: ActivationSpool, pairs: int, mse: float, held_out_mse: float | None) -> dict[str, Any]:
    return {"pairs": pairs, "rows": pairs * spool.layers, "mse": mse, "held_out_mse": held_out_mse}
