"""The closed-form fit of the Transform Matrix from moments.

    W = (AᵀA + λI)⁻¹ AᵀB        (Ye et al. 2025, eq. 8, with a small ridge λ)

Cholesky when the system is positive definite; otherwise the eigenvectors of `AᵀA` whose eigenvalues are above rounding,
which gives the minimum-norm solution on the span of the rows. The rank is what float64 normal equations can resolve:
singular values of A below about 1e-5 of the largest (D = 4,096) count as rounding, the order of what bfloat16
activations can carry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.transform.moments import StreamingMoments

DEFAULT_RIDGE = 1e-6
_KRYLOV_VECTORS = 16


@dataclass(frozen=True)
class TransformFit:
    """A fitted matrix and how far to trust it."""

    matrix: Tensor
    """`W [D, D]` float64; rows of activations are multiplied from the left: `B ≈ A @ W`."""
    rows: int
    """Rows of A that were fitted (pairs times layers)."""
    rank: int
    """The numerical rank of A; below D the fit says nothing about the directions that no row spans."""
    ridge: float
    """The λ that was added, absolute."""
    solver: Literal["cholesky", "eigenvalues"]
    condition_number: float
    """Largest over smallest eigenvalue of the system that was solved (of the kept ones when truncated). After Cholesky
    it is an estimate from below, usually within a hundredth."""


def fit_transform_matrix(moments: StreamingMoments, ridge: float = DEFAULT_RIDGE) -> TransformFit:
    """The least-squares map from activations to English activations.

    `ridge` is relative to the mean of the diagonal of `AᵀA`; 0 is allowed.

    Raises:
        TransformFailed: no row was seen, every row was zero, or a sum is not finite.
    """
    gram = moments.gram
    _check(moments, gram)
    penalty = ridge * float(gram.diagonal().mean())
    if ridge > 0 or _rank(gram) == len(gram):
        system = _plus_diagonal(gram, penalty)
        factor, failed = torch.linalg.cholesky_ex(system)
        if not failed:
            matrix = torch.cholesky_solve(moments.cross, factor)
            largest = _largest_eigenvalue(lambda v: system @ v, system)
            smallest = 1 / _largest_eigenvalue(lambda v: _solve_with(factor, v), system)
            # clear of rounding by far more than the estimate is off: no factorisation needed to tell
            clear = smallest - penalty > max(penalty, 10 * _noise(gram))
            rank = len(gram) if clear else _rank(gram)
            return TransformFit(matrix, moments.rows, rank, penalty, "cholesky", largest / smallest)
    return _truncated_fit(moments, gram, penalty)


def _truncated_fit(moments: StreamingMoments, gram: Tensor, penalty: float) -> TransformFit:
    eigenvalues, vectors = torch.linalg.eigh(gram)
    kept = eigenvalues > _noise(gram)
    values, V = eigenvalues[kept] + penalty, vectors[:, kept]
    matrix = V @ ((V.T @ moments.cross) / values[:, None])
    condition_number = float(values.max() / values.min())
    return TransformFit(matrix, moments.rows, int(kept.sum()), penalty, "eigenvalues", condition_number)


def _rank(gram: Tensor) -> int:
    """How many eigenvalues are above rounding.

    All of them are exactly when `AᵀA − noise·I` is positive definite (Sylvester's law of inertia), which one Cholesky
    factorisation tells, ten times cheaper than the eigenvalues (D = 2,048); those are needed only when it is not.
    """
    noise = _noise(gram)
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


def _check(moments: StreamingMoments, gram: Tensor) -> None:
    if moments.rows == 0:
        raise TransformFailed("no Transform Matrix: no activation row was sampled, at least one pair is needed")
    for name, values in (("AᵀA", gram), ("AᵀB", moments.cross)):
        if not torch.isfinite(values.sum()):
            raise TransformFailed(
                f"no Transform Matrix: {name} over {moments.rows} rows is not finite, so an activation was NaN, "
                "infinite or above 1e150; check that the checkpoint answers and that its dtype fits it"
            )
    if not gram.diagonal().any():
        raise TransformFailed(f"no Transform Matrix: all {moments.rows} activation rows are zero, so nothing fits")
