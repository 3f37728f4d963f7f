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
_ITERATIONS = 12
_ITERATED_VECTORS = 8


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
    it is an estimate from below, usually within a tenth."""


def fit_transform_matrix(moments: StreamingMoments, ridge: float = DEFAULT_RIDGE) -> TransformFit:
    """The least-squares map from activations to English activations.

    `ridge` is relative to the mean of the diagonal of `AᵀA`; 0 is allowed.

    Raises:
        TransformFailed: no row was seen, every row was zero, or a sum is not finite.
    """
    gram = moments.gram
    _check(moments, gram)
    penalty = ridge * float(gram.diagonal().mean())
    rank = _rank(gram)
    if ridge > 0 or rank == len(gram):
        system = gram + penalty * torch.eye(len(gram)).to(gram)
        factor, failed = torch.linalg.cholesky_ex(system)
        if not failed:
            matrix = torch.cholesky_solve(moments.cross, factor)
            condition_number = _largest_eigenvalue(lambda V: system @ V, system) * _largest_eigenvalue(
                lambda V: torch.cholesky_solve(V, factor), system
            )
            return TransformFit(matrix, moments.rows, rank, penalty, "cholesky", condition_number)
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
    _, failed = torch.linalg.cholesky_ex(gram - noise * torch.eye(len(gram)).to(gram))
    return int((torch.linalg.eigvalsh(gram) > noise).sum()) if failed else len(gram)


def _noise(gram: Tensor) -> float:
    """Eigenvalues of `AᵀA` below this are rounding: eps · D times an upper bound of the largest eigenvalue."""
    return torch.finfo(gram.dtype).eps * len(gram) * float(torch.linalg.matrix_norm(gram))


def _largest_eigenvalue(apply: Callable[[Tensor], Tensor], like: Tensor) -> float:
    """The largest eigenvalue of a symmetric positive map, by subspace iteration from a fixed start.

    A few products with `[D, 8]` in place of all D eigenvalues, which would take longer than the fit itself.
    """
    start = torch.randn(len(like), min(_ITERATED_VECTORS, len(like)), generator=torch.Generator().manual_seed(0))
    vectors = torch.linalg.qr(start.to(like)).Q
    for _ in range(_ITERATIONS):
        vectors, triangle = torch.linalg.qr(apply(vectors))
    return float(torch.linalg.matrix_norm(triangle, ord=2))


def _check(moments: StreamingMoments, gram: Tensor) -> None:
    if moments.rows == 0:
        raise TransformFailed("no Transform Matrix: no activation row was sampled, at least one pair is needed")
    for name, values in (("AᵀA", gram), ("AᵀB", moments.cross)):
        if not torch.isfinite(values).all():
            raise TransformFailed(
                f"no Transform Matrix: {name} over {moments.rows} rows is not finite, so an activation was NaN, "
                "infinite or above 1e150; check that the checkpoint answers and that its dtype fits it"
            )
    if not gram.any():
        raise TransformFailed(f"no Transform Matrix: all {moments.rows} activation rows are zero, so nothing fits")
