"""The other forms of the fit, each against a slow one: intercept, ridge by cross-validation, and the default's bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from cc_tuning.transform.config import TransformConfig
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import fit_transform_matrix
from tests.reference.least_squares import (
    cross_validation_score,
    leave_one_out_error,
    ridge_matrix,
    ridge_with_intercept,
)

D = 12


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _noisy(rows: int, noise: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows about a mean far from zero, with directions of very different size, and noise that a ridge can tame."""
    sizes = torch.logspace(1, -2, D, dtype=torch.float64)
    A = _normal(rows, D, seed=seed) * sizes + 2
    return A, A @ _normal(D, D, seed=seed + 1) + 5 + noise * _normal(rows, D, seed=seed + 2)


def _moments(A: Tensor, B: Tensor, batch: int = 37) -> StreamingMoments:
    moments = StreamingMoments(A.shape[1])
    for some_a, some_b in zip(A.split(batch), B.split(batch), strict=True):
        moments.update(some_a, some_b)
    return moments


def test_default_fit_is_the_formula_to_the_last_bit() -> None:
    A, B = _noisy(5000)
    gram, cross = torch.zeros(D, D, dtype=torch.float64), torch.zeros(D, D, dtype=torch.float64)
    for a, b in zip(A.split(4096), B.split(4096), strict=True):
        gram += torch.from_numpy(a.numpy().T @ a.numpy())
        cross += torch.from_numpy(a.numpy().T @ b.numpy())
    system = gram.clone()
    system.diagonal().add_(1e-6 * float(gram.diagonal().mean()))
    expected = torch.cholesky_solve(cross, torch.linalg.cholesky(system))
    fit = fit_transform_matrix(_moments(A, B))
    assert torch.equal(fit.matrix, expected)
    assert fit.intercept is None and fit.relative_ridge == 1e-6 and fit.gcv_score is None


def test_intercept_recovers_a_known_shift() -> None:
    A, _ = _noisy(200)
    W, b = _normal(D, D, seed=9), _normal(D, seed=10)
    fit = fit_transform_matrix(_moments(A, A @ W + b), ridge=0, intercept=True)
    torch.testing.assert_close(fit.matrix, W, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(fit.intercept, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 1e-6, 0.3])
def test_intercept_equals_an_unpenalised_column_of_ones(ridge: float) -> None:
    A, B = _noisy(80)
    fit = fit_transform_matrix(_moments(A, B), ridge, intercept=True)
    centred = A - A.mean(0)
    penalty = ridge * float(centred.square().sum()) / D
    W, b = ridge_with_intercept(A.numpy(), B.numpy(), penalty)
    assert fit.ridge == pytest.approx(penalty)
    np.testing.assert_allclose(fit.matrix.numpy(), W, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fit.intercept.numpy(), b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ridge", [0.0, 1e-6, "gcv"])
@pytest.mark.parametrize("rows", [1, 4])
def test_rows_that_are_all_equal_are_met_by_the_intercept_alone(rows: int, ridge: float | str) -> None:
    A, B = _normal(1, D).expand(rows, D), _normal(1, D, seed=1).expand(rows, D)
    fit = fit_transform_matrix(_moments(A, B), ridge, intercept=True)
    assert fit.rank == 0
    assert not fit.matrix.any()
    torch.testing.assert_close(fit.intercept, B[0])


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("rows", [D // 2, D, D + 1, 30, 120])
def test_cross_validation_picks_the_ridge_that_the_hat_matrix_picks(rows: int, intercept: bool) -> None:
    A, B = _noisy(rows, seed=rows)
    moments = _moments(A, B)
    fit = fit_transform_matrix(moments, "gcv", intercept)

    def slow(penalty: float) -> float:
        return cross_validation_score(A.numpy(), B.numpy(), penalty, intercept)

    unit = fit.ridge / fit.relative_ridge
    penalties = unit * np.logspace(-8, 4, 301)
    scores = [slow(penalty) for penalty in penalties]
    best = int(np.argmin(scores))
    assert fit.gcv_score == pytest.approx(slow(fit.ridge), rel=1e-6)
    assert fit.gcv_score <= scores[best] * (1 + 1e-9)
    if 0 < best < len(penalties) - 1:
        assert penalties[best - 1] < fit.ridge < penalties[best + 1]
    if intercept:
        W, b = ridge_with_intercept(A.numpy(), B.numpy(), fit.ridge)
        np.testing.assert_allclose(fit.intercept.numpy(), b, rtol=1e-5, atol=1e-6)
    else:
        W = ridge_matrix(A.numpy(), B.numpy(), fit.ridge)
    np.testing.assert_allclose(fit.matrix.numpy(), W, rtol=1e-5, atol=1e-6)


def test_cross_validation_is_leave_one_out_where_all_rows_have_the_same_leverage() -> None:
    signs = np.array([[1.0]])
    for _ in range(5):
        signs = np.block([[signs, signs], [signs, -signs]])  # orthogonal columns of ±1 (Sylvester 1867)
    A = torch.from_numpy(signs[:, :D]) * torch.logspace(0, -2, D, dtype=torch.float64)
    B = A @ _normal(D, D) + 0.5 * _normal(len(A), D, seed=1)
    fit = fit_transform_matrix(_moments(A, B), "gcv")
    penalties = fit.ridge * np.logspace(-2, 2, 41)
    errors = [leave_one_out_error(A.numpy(), B.numpy(), penalty) for penalty in penalties]
    assert int(np.argmin(errors)) == 20
    assert fit.gcv_score == pytest.approx(errors[20], rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(scale=st.sampled_from([1e-4, 1.0, 1e4]), seed=st.integers(0, 50), intercept=st.booleans())
def test_chosen_ridge_follows_the_units_of_the_activations(scale: float, seed: int, intercept: bool) -> None:
    A, B = _noisy(60, seed=seed)
    fit = fit_transform_matrix(_moments(A, B), "gcv", intercept)
    scaled = fit_transform_matrix(_moments(scale * A, B), "gcv", intercept)
    assert scaled.relative_ridge == pytest.approx(fit.relative_ridge, rel=1e-3)


def test_cross_validation_beats_the_default_ridge_on_new_rows_where_noise_is_large() -> None:
    A, B = _noisy(16, noise=20.0)
    new_A, new_B = _noisy(500, noise=0.0)
    true = new_A @ torch.linalg.lstsq(new_A, new_B).solution

    def error(ridge: float | str) -> float:
        return float((new_A @ fit_transform_matrix(_moments(A, B), ridge).matrix - true).square().mean())

    assert error("gcv") < 0.5 * error(1e-6)


def test_sums_can_be_read_and_added_to_in_turn() -> None:
    A, B = _noisy(300)
    moments = StreamingMoments(D)
    for rows in (slice(0, 100), slice(100, 101), slice(101, 300)):
        moments.update(A[rows], B[rows])
        so_far = slice(0, rows.stop)
        torch.testing.assert_close(moments.gram, A[so_far].T @ A[so_far])
        torch.testing.assert_close(moments.cross, A[so_far].T @ B[so_far])
        torch.testing.assert_close(moments.activation_mean, A[so_far].mean(0))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ridge", -1, "greater than or equal to 0"),
        ("ridge", "loo", "gcv"),
        ("matrix", "per_head", "per_layer"),
        ("sweep_pairs", [10, 1], "expected numbers of pairs that rise"),
        ("sweep_pairs", [1, 1], "expected numbers of pairs that rise"),
        ("sweep_pairs", [0, 1], "greater than or equal to 1"),
    ],
)
def test_choices_that_mean_nothing_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TransformConfig.model_validate({field: value})
