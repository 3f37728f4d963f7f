"""The ridge by generalised cross-validation, from eigenvalues alone.

    V(λ) = (1/n) ‖(I − H(λ)) B‖² / [(1/n) tr(I − H(λ))]²,    H(λ) = A (AᵀA + λI)⁻¹ Aᵀ

(Golub, Heath and Wahba 1979, *Generalized cross-validation as a method for choosing a good ridge parameter*,
Technometrics 21(2), eq. 1.4; there the penalty is written nλ, and B has one column.) It is leave-one-out error with the
leverage of each row replaced by the mean leverage. With `AᵀA = Q diag(d) Qᵀ` and `g_i = ‖(Qᵀ AᵀB)_i‖²`, over the `r`
eigenvalues above rounding,

    ‖(I − H) B‖² = (‖B‖² − Σ g_i/d_i) + Σ (g_i/d_i) · (λ/(d_i + λ))²
    tr(I − H)    = n − r + Σ λ/(d_i + λ)

so that no row is needed, and only the first bracket, the error without a ridge, is a difference of large sums. An
intercept takes one more degree of freedom: then all moments are about the mean, and the trace has `n − 1` for `n`.

The method takes rows as independent. The rows of one pair in different layers are not, so a shared matrix has less
evidence than `n` says and the ridge chosen for it tends to be small. The held-out pairs are the judge of that.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_EXPONENTS = (-12.0, 4.0)
_STEPS_PER_DECADE = 4
_GOLDEN = (math.sqrt(5) - 1) / 2
_GOLDEN_STEPS = 40  # narrow a bracket of half a decade to 1e-9 of one


class RidgeScore:
    """`V(λ)` of one least-squares problem."""

    def __init__(self, eigenvalues: Tensor, squares: Tensor, english_squares: float, rows: int, freedom: int) -> None:
        """`eigenvalues` d `[r]` above rounding, `squares` g `[r]`, `english_squares` `‖B‖²`, `rows` n of the mean, and
        `freedom` the n of the trace: n, or n − 1 with an intercept.
        """
        self._eigenvalues = eigenvalues.double().cpu()
        explained = squares.double().cpu() / self._eigenvalues
        self._explained, self._rows, self._spare = explained, rows, max(freedom - len(eigenvalues), 0)
        # no more rows than directions are fitted exactly: what the difference then leaves is rounding
        self._unexplained = max(english_squares - float(explained.sum()), 0.0) if self._spare else 0.0

    def __call__(self, ridge: float) -> float:
        """`V(λ)` for the absolute penalty `ridge` > 0."""
        left = ridge / (self._eigenvalues + ridge)
        residual = self._unexplained + float((self._explained * left.square()).sum())
        return self._rows * residual / (self._spare + float(left.sum())) ** 2


def best_ridge(score: Callable[[float], float], unit: float) -> float:
    """The penalty with the least score, absolute, between 1e-12 and 1e4 times `unit`.

    The score may have several valleys: a logarithmic grid finds the deepest, golden-section search its bottom.
    """
    first, last = _EXPONENTS
    grid = torch.linspace(first, last, round((last - first) * _STEPS_PER_DECADE) + 1, dtype=torch.float64).tolist()

    def at(exponent: float) -> float:
        return score(unit * 10**exponent)

    best = min(range(len(grid)), key=lambda place: at(grid[place]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(_GOLDEN_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if at(left) <= at(right) else (left, high)
    return unit * 10 ** ((low + high) / 2)
