"""The Transform Matrix the slow way: all rows in memory, numpy's SVD-based least squares, loops for the figures."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def least_squares_matrix(A: Rows, B: Rows) -> tuple[Rows, int]:
    """`argmin ‖A W − B‖²` of minimum norm, and the rank of A."""
    W, _, rank, _ = np.linalg.lstsq(A, B, rcond=1e-9)
    return W, int(rank)


def ridge_matrix(A: Rows, B: Rows, penalty: float) -> Rows:
    """`argmin ‖A W − B‖² + λ ‖W‖²` as least squares with the rows `√λ I` below A and zeros below B."""
    stacked = np.vstack([A, np.sqrt(penalty) * np.eye(A.shape[1])])
    return np.linalg.lstsq(stacked, np.vstack([B, np.zeros((A.shape[1], B.shape[1]))]), rcond=None)[0]


def ridge_with_intercept(A: Rows, B: Rows, penalty: float) -> tuple[Rows, Rows]:
    """`argmin ‖A W + b − B‖² + λ ‖W‖²`: a column of ones that the penalty leaves alone."""
    size = A.shape[1]
    free = np.hstack([np.sqrt(penalty) * np.eye(size), np.zeros((size, 1))])
    stacked = np.vstack([np.hstack([A, np.ones((len(A), 1))]), free])
    solution = np.linalg.lstsq(stacked, np.vstack([B, np.zeros((size, B.shape[1]))]), rcond=None)[0]
    return solution[:-1], solution[-1]


def cross_validation_score(A: Rows, B: Rows, penalty: float, intercept: bool) -> float:
    """`V(λ)` of Golub, Heath and Wahba (1979) from the hat matrix `[n, n]` itself."""
    n = len(A)
    mean = np.full((n, n), 1 / n) if intercept else np.zeros((n, n))
    A = A - mean @ A
    hat = mean + A @ np.linalg.solve(A.T @ A + penalty * np.eye(A.shape[1]), A.T)
    left = np.eye(n) - hat
    return float(np.sum((left @ B) ** 2) / n / (np.trace(left) / n) ** 2)


def leave_one_out_error(A: Rows, B: Rows, penalty: float) -> float:
    """The mean over rows of the squared error on a row that was not fitted, with a fit for each."""
    errors = []
    for row in range(len(A)):
        others = np.arange(len(A)) != row
        errors.append(np.sum((A[row] @ ridge_matrix(A[others], B[others], penalty) - B[row]) ** 2))
    return float(np.mean(errors))


def figures_by_layer(F: Rows, F_en: Rows, W: Rows, english_mean: Rows) -> dict[str, list[float]]:
    """MSE of the matrix, the identity and the mean, and R² of the matrix, for each layer of `[N, L, D]` rows."""
    figures: dict[str, list[float]] = {"mse": [], "identity_mse": [], "mean_mse": [], "r2": []}
    for layer in range(F.shape[1]):
        A, B = F[:, layer], F_en[:, layer]
        figures["mse"].append(float(np.mean((A @ W - B) ** 2)))
        figures["identity_mse"].append(float(np.mean((A - B) ** 2)))
        figures["mean_mse"].append(float(np.mean((english_mean - B) ** 2)))
        figures["r2"].append(1 - figures["mse"][-1] / float(np.mean((B - B.mean(0)) ** 2)))
    return figures
