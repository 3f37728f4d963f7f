"""Ridge regression with a mean for each group, in the primal, row by row and fold by fold; for maps with intercepts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.reference.least_squares import ridge_matrix

Rows = NDArray[np.float64]


def means_of(rows: Rows, groups: Sequence[int], asked: int) -> Rows:
    """The mean of the rows of a group; of all rows where the group has none."""
    chosen = [row for row, group in zip(rows, groups, strict=True) if group == asked]
    return np.mean(chosen or list(rows), axis=0)


def about_means(rows: Rows, groups: Sequence[int], fitted: Rows, fitted_groups: Sequence[int], centred: bool) -> Rows:
    """Rows less the mean of their group in the fitted rows."""
    if not centred:
        return rows
    return np.array([row - means_of(fitted, fitted_groups, g) for row, g in zip(rows, groups, strict=True)])


def held_out_error(
    A: Rows, B: Rows, groups: Sequence[int], folds: Sequence[int], relative: float, centred: bool, per_row: bool = False
) -> float:
    """The sum of squared errors on each fold of a fit on the others; the penalty is `relative` times the mean diagonal
    of `AᵀA`, or with `per_row` of `AAᵀ`.
    """
    total, groups, folds = 0.0, np.asarray(groups), np.asarray(folds)
    for fold in set(folds.tolist()):
        fit, out = folds != fold, folds == fold
        A_fit, B_fit = (about_means(of[fit], groups[fit], of[fit], groups[fit], centred) for of in (A, B))
        A_out, B_out = (about_means(of[out], groups[out], of[fit], groups[fit], centred) for of in (A, B))
        penalty = relative * np.sum(A_fit**2) / (len(A_fit) if per_row else A.shape[1])
        total += float(np.sum((A_out @ ridge_matrix(A_fit, B_fit, penalty) - B_out) ** 2))
    return total
