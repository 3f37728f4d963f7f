"""The closed-form fit of the Transform Matrix from moments.

    W = (AᵀA + λI)⁻¹ AᵀB        (Ye et al. 2025, eq. 8, with a small ridge λ)

Cholesky when the system is positive definite; otherwise the eigenvectors of `AᵀA` whose eigenvalues are above rounding,
which gives the minimum-norm solution on the span of the rows. The rank is what float64 normal equations can resolve:
singular values of A below about 1e-5 of the largest (D = 4,096) count as rounding, the order of what bfloat16
activations can carry. A ridge chosen by cross-validation needs all eigenvalues, and the fit is then made from them.

With an intercept, `B ≈ A W + b`, the same is solved for moments about the means, and `b = mean(B) − mean(A) W`. With
one for each language, every row is taken about the mean of its language (`group_sums.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.transform.config import DEFAULT_RIDGE
from cc_tuning.transform.cross_validation import RidgeScore, best_ridge
from cc_tuning.transform.group_sums import GroupSums
from cc_tuning.transform.moments import StreamingMoments

_KRYLOV_VECTORS = 16


@dataclass(frozen=True)
class TransformFit:
    """A fitted matrix and how far to trust it."""

    matrix: Tensor
    """`W [D, D]` float64; rows of activations are multiplied from the left: `B ≈ A @ W`."""
    intercept: Tensor | None
    """`b [D]` float64, added to each row of `A @ W`; `[Q, D]` with one for each language, None where there is none."""
    rows: int
    """Rows of A that were fitted (pairs times layers)."""
    rank: int
    """The numerical rank of A, of its deviations from the mean if there is an intercept; below D the fit says nothing
    about the directions that no row spans."""
    ridge: float
    """The λ that was added, absolute."""
    relative_ridge: float
    """The same in units of the mean of the diagonal."""
    solver: Literal["cholesky", "eigenvalues", "dual", "landmarks"]
    condition_number: float
    """Largest over smallest eigenvalue of the system that was solved (of the kept ones when truncated; 1 when none was
    kept). After Cholesky it is an estimate from below, usually within a hundredth."""
    gcv_score: float | None = None
    """`V(λ)` where the ridge was chosen by cross-validation."""
    outside_share: float | None = None
    """With landmarks, the share of the features' squares, about the means, that is outside of their span."""


@dataclass(frozen=True)
class _Equations:
    """`(gram + λI) W = cross`, about the means if there is an intercept."""

    gram: Tensor
    cross: Tensor
    noise: float
    """Eigenvalues of `gram` below this are rounding."""
    squares: float
    """`‖B‖²`."""
    means: int
    """How many means were taken out: languages, one for a single intercept, or none."""

    @property
    def unit(self) -> float:
        """The unit of a relative ridge."""
        return float(self.gram.diagonal().mean())


@dataclass(frozen=True)
class _Solution:
    matrix: Tensor
    rank: int
    ridge: float
    solver: Literal["cholesky", "eigenvalues"]
    condition_number: float
    gcv_score: float | None = None


def fit_transform_matrix(
    moments: StreamingMoments,
    ridge: float | Literal["gcv"] = DEFAULT_RIDGE,
    intercept: bool = False,
    groups: GroupSums | None = None,
) -> TransformFit:
    """The least-squares map from activations to English activations.

    `ridge` is relative to the mean of the diagonal of `AᵀA`; 0 is allowed, `gcv` chooses it. It never shrinks the
    intercept. With `groups`, the sums of the same rows by language, there is an intercept for each.

    Raises:
        TransformFailed: no row was seen, every row was zero, or a sum is not finite.
    """
    _check(moments)
    equations = _equations(moments, intercept, groups)
    unit = equations.unit
    solution = _by_cross_validation(equations, moments.rows) if ridge == "gcv" else _solve(equations, ridge)
    W = solution.matrix
    return TransformFit(
        matrix=W,
        intercept=_intercept(moments, W, intercept, groups),
        rows=moments.rows,
        rank=solution.rank,
        ridge=solution.ridge,
        relative_ridge=solution.ridge / unit if unit > 0 else 0.0,
        solver=solution.solver,
        condition_number=solution.condition_number,
        gcv_score=solution.gcv_score,
    )


def _equations(moments: StreamingMoments, intercept: bool, groups: GroupSums | None) -> _Equations:
    """The moments, or with an intercept those about the means: `AᵀA − n·mean(A)ᵀ mean(A)`, and so on."""
    gram, cross, squares = moments.gram, moments.cross, moments.english_squares
    noise = _noise(gram)
    if groups is not None:
        gram, cross, squares = groups.about(gram, cross, squares, groups)
        return _Equations(gram, cross, noise, squares, len(groups.counts))
    if intercept:
        mean = moments.rows * moments.activation_mean[:, None]
        gram, cross = gram - mean * moments.activation_mean, cross - mean * moments.english_mean
        squares -= moments.rows * float(moments.english_mean.square().sum())
    return _Equations(gram, cross, noise, squares, int(intercept))


def _intercept(moments: StreamingMoments, W: Tensor, intercept: bool, groups: GroupSums | None) -> Tensor | None:
    if groups is not None:
        A_mean, B_mean = groups.means()
        return B_mean - A_mean @ W
    return moments.english_mean - moments.activation_mean @ W if intercept else None


def _solve(equations: _Equations, ridge: float) -> _Solution:
    gram = equations.gram
    penalty = ridge * equations.unit
    spread = bool(gram.diagonal().max() > equations.noise)  # one row, or equal ones, have none about their mean
    if spread and (ridge > 0 or _rank(equations) == len(gram)):
        system = _plus_diagonal(gram, penalty)
        factor, failed = torch.linalg.cholesky_ex(system)
        if not failed:
            matrix = torch.cholesky_solve(equations.cross, factor)
            largest = _largest_eigenvalue(lambda v: system @ v, system)
            smallest = 1 / _largest_eigenvalue(lambda v: _solve_with(factor, v), system)
            # clear of rounding by far more than the estimate is off: no factorisation needed to tell
            clear = smallest - penalty > max(penalty, 10 * equations.noise)
            rank = len(gram) if clear else _rank(equations)
            return _Solution(matrix, rank, penalty, "cholesky", largest / smallest)
    eigenvalues, V = _eigenvectors(equations)
    return _truncated(eigenvalues, V, V.T @ equations.cross, penalty)


def _by_cross_validation(equations: _Equations, rows: int) -> _Solution:
    eigenvalues, V = _eigenvectors(equations)
    coefficients = V.T @ equations.cross
    if not len(eigenvalues):
        return _truncated(eigenvalues, V, coefficients, 0.0)
    score = RidgeScore(eigenvalues, coefficients.square().sum(1), equations.squares, rows, rows - equations.means)
    penalty = best_ridge(score, equations.unit)
    return replace(_truncated(eigenvalues, V, coefficients, penalty), gcv_score=score(penalty))


def _eigenvectors(equations: _Equations) -> tuple[Tensor, Tensor]:
    """The eigenvalues above rounding `[r]`, and their eigenvectors `[D, r]`."""
    eigenvalues, vectors = torch.linalg.eigh(equations.gram)
    kept = eigenvalues > equations.noise
    return eigenvalues[kept], vectors[:, kept]


def _truncated(eigenvalues: Tensor, V: Tensor, coefficients: Tensor, penalty: float) -> _Solution:
    """The fit on the span of `V`; `coefficients` are `Vᵀ AᵀB [r, D]`."""
    values = eigenvalues + penalty
    condition_number = float(values.max() / values.min()) if len(values) else 1.0
    return _Solution(V @ (coefficients / values[:, None]), len(values), penalty, "eigenvalues", condition_number)


def _rank(equations: _Equations) -> int:
    """The number of eigenvalues above rounding.

    All of them are exactly when `AᵀA − noise·I` is positive definite (Sylvester's law of inertia), which one Cholesky
    factorisation tells, ten times cheaper than the eigenvalues (D = 2,048); those are needed only when it is not.
    """
    gram, noise = equations.gram, equations.noise
    _, failed = torch.linalg.cholesky_ex(_plus_diagonal(gram, -noise))
    return int((torch.linalg.eigvalsh(gram) > noise).sum()) if failed else len(gram)


def _plus_diagonal(gram: Tensor, value: float) -> Tensor:
    """`gram + value * I` without making I."""
    shifted = gram.clone()
    shifted.diagonal().add_(value)
    return shifted


def _noise(gram: Tensor) -> float:
    """Eigenvalues of `AᵀA` below this are rounding: eps · D times an upper bound of the largest eigenvalue."""
    return torch.finfo(gram.dtype).eps * len(gram) * float(torch.linalg.matrix_norm(gram))


def _solve_with(factor: Tensor, vector: Tensor) -> Tensor:
    """`(L Lᵀ)⁻¹ vector [D, 1]`; `cholesky_solve` would copy `L` for each vector."""
    halfway = torch.linalg.solve_triangular(factor, vector, upper=False)
    return torch.linalg.solve_triangular(factor.mT, halfway, upper=True)


def _largest_eigenvalue(apply: Callable[[Tensor], Tensor], like: Tensor) -> float:
    """The largest eigenvalue of a symmetric positive map, from below, by the Lanczos method from a fixed start.

    The best value within the span of `v, Mv, M²v, ...` (Rayleigh-Ritz): a few products with one vector in place of all
    D eigenvalues, which would take longer than the fit itself.
    """
    vector = torch.randn(len(like), 1, generator=torch.Generator().manual_seed(0)).to(like)
    basis = like.new_zeros(len(like), 0)
    images = like.new_zeros(len(like), 0)
    for _ in range(min(_KRYLOV_VECTORS, len(like))):
        for _ in range(2):  # once leaves what rounding spared
            vector = vector - basis @ (basis.T @ vector)
        length = float(torch.linalg.vector_norm(vector))
        if not length > 0:
            break
        basis = torch.cat([basis, vector / length], dim=1)
        vector = apply(basis[:, -1:])
        images = torch.cat([images, vector], dim=1)
    return float(torch.linalg.eigvalsh(basis.T @ images)[-1])


def _check(moments: StreamingMoments) -> None:
    if moments.rows == 0:
        raise TransformFailed("no Transform Matrix: no activation row was sampled, at least one pair is needed")
    for name, values in (("AᵀA", moments.gram), ("AᵀB", moments.cross)):
        if not torch.isfinite(values.sum()):
            raise TransformFailed(
                f"no Transform Matrix: {name} over {moments.rows} rows is not finite, so an activation was NaN, "
                "infinite or above 1e150; check that the checkpoint answers and that its dtype fits it"
            )
    if not moments.gram.diagonal().any():
        raise TransformFailed(f"no Transform Matrix: all {moments.rows} activation rows are zero, so nothing fits")
