"""The map from the activations of all layers, or from pooled states, in the dual: as many unknowns as pairs.

With P features a pair, more than there are pairs, `X [N, P]` and the stacked targets `B [N, L·D]`,

    W = Xᵀ (K + λI)⁻¹ B,    K = X Xᵀ        (Saunders, Gammerman and Vovk 1998, eq. 6)

so `K` and `B Bᵀ`, summed layer by layer in float64, are all that is looked at: the ridge is chosen on them, by
cross-validation over folds or GCV, and the factors are read off in one more pass. W itself, P × L·D, is never made. It
is cut to rank r so that it loses least by the criterion it was fitted by: `‖XW − B‖² + λ‖W‖²` rises by
`‖(W − W_r)‖²` in the norm of `XᵀX + λI`, whose best approximation keeps the leading eigenvectors of

    Bᵀ H B,    H = K (K + λI)⁻¹              (Mukherjee and Zhu 2011, *Reduced rank ridge regression*, section 2)

With them, `U = Xᵀ (K + λI)⁻¹ B V_r` and `V = V_rᵀ`, `W_r = U V`. Rows are scaled as in `scaled_rows.py`. A ridge is
relative to the mean of the diagonal of K. This takes 64 N² bytes and time in N³; `landmarks.py` has the fit for many
pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.cross_validation import RidgeScore, best_ridge
from cc_tuning.transform.factors import DualFit, Sides, factored
from cc_tuning.transform.folds import ChosenRidge, HeldOutError, choose_relative
from cc_tuning.transform.groups import Groups
from cc_tuning.transform.scaled_rows import ScaledRows
from cc_tuning.transform.solve import TransformFit
from cc_tuning.transform.spool import FIT, ActivationSpool

KERNELS = 8
"""`[N, N]` float64 matrices at the peak: the two kernels, an eigendecomposition with its workspace, products."""


@dataclass(frozen=True)
class _Solved:
    """`K = V diag(d) Vᵀ` over the eigenvalues above rounding, and the kernel of targets seen from there."""

    eigenvalues: Tensor
    """`[q]`."""
    vectors: Tensor
    """`[N, q]`."""
    turned: Tensor
    """`Vᵀ B Bᵀ V [q, q]`."""
    unit: float
    """The mean of the diagonal of K."""
    english_squares: float
    """`‖B‖²`."""


def fit_exactly(spool: ActivationSpool, config: FitConfig, groups: Groups, folds: Sequence[int]) -> DualFit:
    """The map that `config` asks for, from all pairs of the split `fit`; `folds` gives the fold of each.

    Raises:
        TransformFailed: no feature varies.
    """
    pairs = spool.pairs[FIT]
    sides = Sides.of(spool, config, groups, torch.float64)
    kernels = _kernel(sides.features, sides.features.layers), _kernel(sides.targets, sides.fitted)
    solved = _solve(*kernels, groups)
    relative, score, chosen = _ridge(config, kernels, solved, groups, folds, pairs * len(sides.fitted))
    penalty = relative * solved.unit
    right, left = _directions(solved, penalty, config.rank)
    languages = spool.fitted_languages if config.intercept == "per_language" else ()
    transform = factored(
        sides, config, languages,
        lambda layer: sides.features.rows(layer).T @ left, lambda layer: right.T @ sides.targets.rows(layer),
    )  # fmt: skip
    largest, smallest = float(solved.eigenvalues[-1]) + penalty, float(solved.eigenvalues[0]) + penalty
    fit = TransformFit(
        transform.matrix, transform.intercept, pairs, transform.matrix.shape[1], penalty, relative, "dual",
        largest / smallest, score,
    )  # fmt: skip
    return DualFit(transform, fit, sides.english_mean, chosen)


def _kernel(rows: ScaledRows, layers: Sequence[int]) -> Tensor:
    """`[N, N]`: the inner products of all pairs over `layers`; every layer is looked at."""
    kernel: Tensor | None = None
    for layer in rows.layers:
        of_layer = rows.rows(layer)
        kernel = of_layer.new_zeros(len(of_layer), len(of_layer)) if kernel is None else kernel
        if layer in layers and rows.scales[layer]:
            kernel.addmm_(of_layer, of_layer.T)
    assert kernel is not None
    return kernel


def _centred(kernel: Tensor, averages: Tensor, groups: Groups, rows: Tensor, columns: Tensor) -> Tensor:
    """Inner products of `rows` with `columns`, both masks, each about its group's mean."""
    if not groups.count:
        return kernel[rows][:, columns]
    left = kernel[rows] - (averages @ kernel)[groups.of_pairs[rows]]
    return left[:, columns] - (left @ averages.T)[:, groups.of_pairs[columns]]


def _solve(features: Tensor, targets: Tensor, groups: Groups) -> _Solved:
    everyone = groups.everyone
    averages = groups.averages(everyone)
    K, KB = (_centred(kernel, averages, groups, everyone, everyone) for kernel in (features, targets))
    unit = float(K.diagonal().mean())
    if not unit > 0:
        raise TransformFailed(
            f"no map: the features of the {len(K)} fitted pairs do not vary, so nothing fits; sample more pairs"
        )
    eigenvalues, vectors = torch.linalg.eigh(K)
    kept = eigenvalues > torch.finfo(K.dtype).eps * len(K) * float(eigenvalues[-1])
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    return _Solved(eigenvalues, vectors, vectors.T @ KB @ vectors, unit, float(KB.trace()))


def _ridge(
    config: FitConfig,
    kernels: tuple[Tensor, Tensor],
    solved: _Solved,
    groups: Groups,
    folds: Sequence[int],
    elements: int,
) -> tuple[float, float | None, ChosenRidge | None]:
    """The relative ridge, and the score of it or the errors it was chosen by."""
    if config.ridge == "cv":
        errors = [_fold_error(*kernels, groups, fold, folds) for fold in sorted(set(folds))]
        chosen = choose_relative(lambda ridge: sum(of(ridge) for of in errors), elements)
        return chosen.relative, None, chosen
    if config.ridge == "gcv":
        squares, pairs = solved.eigenvalues * solved.turned.diagonal(), len(solved.vectors)
        of = RidgeScore(solved.eigenvalues, squares, solved.english_squares, pairs, pairs - groups.count)
        best = best_ridge(of, solved.unit)
        return best / solved.unit, of(best), None
    return config.ridge, None, None


def _fold_error(K: Tensor, KB: Tensor, groups: Groups, fold: int, folds: Sequence[int]) -> HeldOutError:
    """The error on a fold of the fit on the others; the same quadratic form as with moments."""
    held_out = torch.tensor([of == fold for of in folds], device=K.device)
    fitted = ~held_out
    averages = groups.averages(fitted)
    among = _centred(K, averages, groups, fitted, fitted)
    eigenvalues, vectors = torch.linalg.eigh(among)
    kept = eigenvalues > torch.finfo(K.dtype).eps * len(among) * float(K.diagonal().sum())
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    Z = _centred(K, averages, groups, held_out, fitted) @ vectors
    Y = _centred(KB, averages, groups, held_out, fitted) @ vectors
    turned = vectors.T @ _centred(KB, averages, groups, fitted, fitted) @ vectors
    squares = float(_centred(KB, averages, groups, held_out, held_out).trace())
    return HeldOutError(squares, eigenvalues, (Z * Y).sum(0), (Z.T @ Z) * turned, float(among.diagonal().mean()))


def _directions(solved: _Solved, penalty: float, rank: int) -> tuple[Tensor, Tensor]:
    """`[N, r]` each: what rows of targets are multiplied by for `V`, and rows of features for `U`."""
    eigenvalues, vectors, turned = solved.eigenvalues, solved.vectors, solved.turned
    shrunk = (eigenvalues / (eigenvalues + penalty)).sqrt()  # the eigenvalues of √H
    values, directions = torch.linalg.eigh(shrunk[:, None] * turned * shrunk)
    noise = torch.finfo(values.dtype).eps * len(values) * float(values[-1])
    rank = max(min(rank, int((values > noise).sum())), 1)
    singular = values[-rank:].flip(0).clamp(min=torch.finfo(values.dtype).tiny).sqrt()
    within = shrunk[:, None] * directions[:, -rank:].flip(1) / singular  # √H z / σ, seen from the span of X
    return vectors @ within, vectors @ (turned @ within / (eigenvalues + penalty)[:, None])
