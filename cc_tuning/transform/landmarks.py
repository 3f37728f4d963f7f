"""The map of `dual.py` for many pairs: its features are seen from some of them, its targets from random directions.

**Features.** The first m fitted pairs, a draw by id, are landmarks. With their rows `X_m` and `X_m X_mᵀ = V diag(d) Vᵀ`
the rows of `E = d^(-1/2) Vᵀ X_m` are an orthonormal basis of what they span, and a pair is known by its coordinates

    Φ = X Eᵀ = X X_mᵀ V d^(-1/2)      [N, q], q <= m

(the Nyström method, Williams and Seeger 2001). The fit is the best one that reads nothing outside of that span, ridge
regression of B on Φ, and `‖XW − B‖² + λ‖W‖²` means the same for both. With `R = XXᵀ − ΦΦᵀ`, which has no negative
eigenvalue, and W the fit of all pairs, it is off by

    ‖X(W_m − W)‖² + λ‖W_m − W‖² <= ‖R‖ / (‖R‖ + λ) · ‖B‖²      (‖R‖ the largest eigenvalue)

for the left side is what the criterion rises by, `tr Bᵀ(H − H_m)B`, and t/(t + λ) is operator monotone (Ando 1988,
*Comparison of norms |||f(A) − f(B)||| and |||f(|A − B|)|||*, theorem 1). With every pair a landmark R is 0 and the fits
are one. `outside_share` tells how much of `‖X‖²` is in R; on new rows, landmarks of the order of √N log N cost a ridge
regression nothing in rate under weak conditions (Rudi, Camoriano and Rosasco 2015, *Less is more*, theorem 1).

**Targets.** `T = BΩ`, Ω Gaussian of variance 1/k, has k columns, more than the rank asked for. `‖(I − H)T‖²` is
`‖(I − H)B‖²` on average, with a relative standard deviation of at most √(2/k), and the ridge is chosen on it. Then `Y =
BᵀH T` nearly spans the leading directions of `BᵀHB` (Halko, Martinsson and Tropp 2011, algorithm 4.1 for that matrix),
and the leading ones within that span are the map's V. Where k is at least q nothing is lost.

Features are read once, targets three times; the work is 2 N m P + 6 N k L·D operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.cross_validation import RidgeScore, best_ridge
from cc_tuning.transform.factors import DualFit, Sides, factored
from cc_tuning.transform.folds import ChosenRidge, HeldOutError, choose_relative
from cc_tuning.transform.groups import Groups
from cc_tuning.transform.scaled_rows import ScaledRows
from cc_tuning.transform.solve import TransformFit
from cc_tuning.transform.spool import FIT, ActivationSpool

EXTRA_DIRECTIONS = 32
"""Columns of T beyond the rank: the leading directions within more of them are closer to the true ones."""


@dataclass(frozen=True)
class _Features:
    """What the pairs are known by."""

    coordinates: Tensor
    """Φ `[N, q]` float64, about one mean where there is an intercept."""
    coefficients: Tensor
    """`[m, q]` float64: `E = coefficientsᵀ X_m`."""
    squares: float
    """`‖X‖²`, about the groups' means."""


@dataclass(frozen=True)
class _Problem:
    """Ridge regression of T on Φ, all about the groups' means: `ΦᵀΦ = Q diag(g) Qᵀ` over eigenvalues above rounding."""

    eigenvalues: Tensor
    """`[q]`."""
    vectors: Tensor
    """Q."""
    rows: Tensor
    """`ΦQ [N, q]`."""
    targets: Tensor
    """T `[N, k]`."""
    unit: float
    """What a ridge is relative to, the mean of the diagonal of `XXᵀ`."""
    inside: float
    """`‖Φ‖² / ‖X‖²`."""

    def coefficients(self, targets: Tensor, penalty: float) -> Tensor:
        """`[q, k]`: what `ΦQ` is multiplied by to fit `targets [N, k]`."""
        return self.rows.T @ targets / (self.eigenvalues + penalty)[:, None]


def fit_with_landmarks(spool: ActivationSpool, config: FitConfig, groups: Groups, folds: Sequence[int]) -> DualFit:
    """The map that `config` asks for, from all pairs of the split `fit`; `folds` gives the fold of each.

    Raises:
        TransformFailed: no feature varies.
    """
    pairs = spool.pairs[FIT]
    landmarks = range(min(config.landmarks, pairs))
    sides = Sides.of(spool, config, groups)
    features = _read_features(sides.features, landmarks)
    T = _sketch(sides, config.rank + EXTRA_DIRECTIONS, config.seed)
    problem = _problem(features, T, groups)
    relative, score, chosen = _ridge(config, features, T, problem, groups, folds, pairs * len(sides.fitted))
    penalty = relative * problem.unit
    transform = _reduced(spool, sides, config, groups, landmarks, features.coefficients, problem, penalty)
    largest, smallest = (float(problem.eigenvalues[at]) + penalty for at in (-1, 0))
    fit = TransformFit(
        transform.matrix, transform.intercept, pairs, transform.matrix.shape[1], penalty, relative, "landmarks",
        largest / smallest, score, max(1 - problem.inside, 0.0),
    )  # fmt: skip
    return DualFit(transform, fit, sides.english_mean, chosen)


def _read_features(rows: ScaledRows, landmarks: range) -> _Features:
    products: Tensor | None = None  # of all pairs with landmarks, [N, m] float64
    for layer in rows.layers:
        of_layer = rows.rows(layer)
        product = of_layer @ of_layer[landmarks.start : landmarks.stop].T
        products = product.double() if products is None else products.add_(product)
    assert products is not None
    rows.release()
    among = products[landmarks.start : landmarks.stop]
    among = (among + among.T) / 2
    eigenvalues, vectors = torch.linalg.eigh(among)
    kept = eigenvalues > torch.finfo(rows.dtype).eps * float(among.diagonal().sum())
    coefficients = vectors[:, kept] / eigenvalues[kept].sqrt()
    return _Features(products @ coefficients, coefficients, float(rows.varying(rows.layers)))


def _sketch(sides: Sides, columns: int, seed: int) -> Tensor:
    """T `[N, k]` float64, about one mean where there is an intercept; every layer is looked at."""
    total: Tensor | None = None
    for layer in sides.targets.layers:
        rows = sides.targets.rows(layer)
        total = rows.new_zeros(len(rows), columns, dtype=torch.float64) if total is None else total
        if layer in sides.fitted:
            draw = torch.Generator().manual_seed(seed * len(sides.targets.layers) + layer)
            directions = torch.randn(rows.shape[1], columns, generator=draw) / columns**0.5
            total.add_(rows @ directions.to(rows))
    assert total is not None
    return total


def _problem(features: _Features, T: Tensor, groups: Groups) -> _Problem:
    Phi = groups.about(features.coordinates, groups.everyone)
    gram = Phi.T @ Phi
    inside = float(gram.diagonal().sum())
    if not inside > 0:
        raise TransformFailed(
            f"no map: the features of the {len(T)} fitted pairs do not vary, so nothing fits; sample more pairs"
        )
    eigenvalues, vectors = torch.linalg.eigh(gram)
    kept = eigenvalues > torch.finfo(gram.dtype).eps * len(gram) * float(eigenvalues[-1])
    vectors = vectors[:, kept]
    return _Problem(
        eigenvalues[kept], vectors, Phi @ vectors, groups.about(T, groups.everyone), features.squares / len(T),
        inside / features.squares,
    )  # fmt: skip


def _ridge(
    config: FitConfig,
    features: _Features,
    T: Tensor,
    problem: _Problem,
    groups: Groups,
    folds: Sequence[int],
    elements: int,
) -> tuple[float, float | None, ChosenRidge | None]:
    """The relative ridge, and the score of it or the errors it was chosen by."""
    if config.ridge == "cv":
        errors = [
            _fold_error(features.coordinates, T, groups, [of != fold for of in folds], problem.inside)
            for fold in sorted(set(folds))
        ]
        chosen = choose_relative(lambda ridge: sum(of(ridge) for of in errors), elements)
        return chosen.relative, None, chosen
    if config.ridge == "gcv":
        squares, pairs = (problem.rows.T @ problem.targets).square().sum(1), len(T)
        of = RidgeScore(problem.eigenvalues, squares, _squares(problem.targets), pairs, pairs - groups.count)
        best = best_ridge(of, problem.unit)
        return best / problem.unit, of(best), None
    return config.ridge, None, None


def _fold_error(
    coordinates: Tensor, T: Tensor, groups: Groups, of_others: Sequence[bool], inside: float
) -> HeldOutError:
    """The error on a fold of the fit on the others, whose mean square of X is taken to be inside the span by the same
    share as that of all.
    """
    fitted = torch.tensor(of_others, device=T.device)
    Phi, Y = (groups.about(rows, fitted) for rows in (coordinates, T))
    A, B, own, own_targets = Phi[fitted], Y[fitted], Phi[~fitted], Y[~fitted]
    gram = A.T @ A
    eigenvalues, V = torch.linalg.eigh(gram)
    kept = eigenvalues > torch.finfo(gram.dtype).eps * len(gram) * float(eigenvalues[-1])
    eigenvalues, V = eigenvalues[kept], V[:, kept]
    P, held = V.T @ (A.T @ B), own @ V
    linear, square = (P * (held.T @ own_targets)).sum(1), (held.T @ held) * (P @ P.T)
    unit = float(gram.diagonal().sum()) / len(A) / inside
    return HeldOutError(_squares(own_targets), eigenvalues, linear, square, unit)


def _reduced(
    spool: ActivationSpool,
    sides: Sides,
    config: FitConfig,
    groups: Groups,
    landmarks: range,
    coefficients: Tensor,
    problem: _Problem,
    penalty: float,
) -> TransformMatrix:
    """The map of rank r: two more looks at the targets, one at the landmarks."""
    fitted = problem.rows @ problem.coefficients(problem.targets, penalty)  # H T
    spanned = torch.cat([_product(sides.targets.rows(layer).T, fitted) for layer in sides.fitted])
    directions = torch.linalg.qr(spanned).Q.split(spool.hidden_size)
    del spanned
    along = torch.zeros_like(fitted[:, : directions[0].shape[1]])  # B V [N, k], V a basis of what HB is nearly in
    for layer, of_layer in zip(sides.fitted, directions, strict=True):
        along += _product(sides.targets.rows(layer), of_layer)
    along = groups.about(along, groups.everyone)
    weights = problem.coefficients(along, penalty)
    # √H BV = left diag(values) turnedᵀ, by its square: (BV)ᵀ H BV
    values, turned = torch.linalg.eigh((problem.rows @ weights).T @ along)
    noise = torch.finfo(values.dtype).eps * len(values) * float(values[-1])
    rank = max(min(config.rank, int((values > noise).sum())), 1)
    turned = turned[:, -rank:].flip(1)
    left = coefficients @ (problem.vectors @ (weights @ turned))
    right = {layer: (of @ turned).T for layer, of in zip(sides.fitted, directions, strict=True)}
    languages = spool.fitted_languages if config.intercept == "per_language" else ()
    return factored(
        sides, config, languages,
        lambda layer: _product(sides.features.rows(layer, landmarks).T, left), right.__getitem__,
    )  # fmt: skip


def _product(rows: Tensor, factor: Tensor) -> Tensor:
    """`rows @ factor` in float64, multiplied in the dtype of the rows."""
    return (rows @ factor.to(rows)).double()


def _squares(rows: Tensor) -> float:
    return float(rows.square().sum())
