"""The Transform Matrix the slow way: all rows in memory, numpy's SVD-based least squares, loops for the figures."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def least_squares_matrix(A: Rows, B: Rows) -> tuple[Rows, int]:
    """`argmin ‖A W − B‖²` of minimum norm, and the rank of A."""
    W, _, rank, _ = np.linalg.lstsq(A, B, rcond=1e-9)
    return W, int(rank)


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
