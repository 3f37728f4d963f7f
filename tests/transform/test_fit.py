"""The streamed closed-form fit against numpy's least squares."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.diagnostics import PredictionErrors
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import fit_transform_matrix
from tests.reference.least_squares import figures_by_layer, least_squares_matrix

D = 24


def _rows(count: int, seed: int = 0, rank: int = D, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Rows A of the given rank, and B = A W + noise."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    A = normal(count, rank) @ normal(rank, D) if rank < D else normal(count, D)
    B = A @ normal(D, D) + 0.3 * normal(count, D)
    return A.to(dtype), B.to(dtype)


def _moments(A: Tensor, B: Tensor, batch: int = 1_000_000) -> StreamingMoments:
    moments = StreamingMoments(A.shape[1])
    for some_a, some_b in zip(A.split(batch), B.split(batch), strict=True):
        moments.update(some_a, some_b)
    return moments


def test_fit_recovers_a_known_matrix() -> None:
    A, _ = _rows(200)
    W = torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    fit = fit_transform_matrix(_moments(A, A @ W), ridge=0)
    torch.testing.assert_close(fit.matrix, W, rtol=1e-10, atol=1e-10)
    assert (fit.rank, fit.solver, fit.rows) == (D, "cholesky", 200)


@pytest.mark.parametrize("rows", [D, 60, 500])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_fit_equals_numpy_least_squares(rows: int, dtype: torch.dtype) -> None:
    A, B = _rows(rows, seed=rows, dtype=dtype)
    W, rank = least_squares_matrix(A.double().numpy(), B.double().numpy())
    fit = fit_transform_matrix(_moments(A, B), ridge=0)
    np.testing.assert_allclose(fit.matrix.numpy(), W, rtol=1e-6, atol=1e-7)
    assert fit.rank == rank == D


def test_default_ridge_changes_a_well_conditioned_fit_by_its_size_only() -> None:
    A, B = _rows(500)
    exact, ridged = fit_transform_matrix(_moments(A, B), ridge=0), fit_transform_matrix(_moments(A, B))
    # (G + λI)⁻¹C − G⁻¹C is below λ/λ_min in relative norm
    smallest = float(torch.linalg.eigvalsh(A.T @ A)[0])
    change = torch.linalg.norm(ridged.matrix - exact.matrix) / torch.linalg.norm(exact.matrix)
    assert 0 < float(change) < ridged.ridge / smallest


@pytest.mark.parametrize("rank", [1, 7])
def test_rank_deficient_rows_get_the_minimum_norm_fit_and_their_rank(rank: int) -> None:
    A, B = _rows(100, rank=rank)
    W, expected_rank = least_squares_matrix(A.numpy(), B.numpy())
    fit = fit_transform_matrix(_moments(A, B), ridge=0)
    np.testing.assert_allclose(fit.matrix.numpy(), W, rtol=1e-6, atol=1e-7)
    assert fit.rank == expected_rank == rank
    assert fit.solver == "eigenvalues"


def test_fewer_rows_than_dimensions_are_fitted_exactly_and_the_rank_is_told() -> None:
    A, B = _rows(5)
    fit = fit_transform_matrix(_moments(A, B))
    assert (fit.rank, fit.rows) == (5, 5)
    assert torch.allclose(A @ fit.matrix, B, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 120), seed=st.integers(0, 3))
def test_any_split_into_batches_gives_the_same_bits(batch: int, seed: int) -> None:
    A, B = _rows(120, seed=seed)
    whole, split = _moments(A, B), _moments(A, B, batch)
    torch.testing.assert_close(split.gram, A.T @ A, rtol=1e-12, atol=1e-11)
    assert torch.equal(split.gram, whole.gram)
    assert torch.equal(fit_transform_matrix(split).matrix, fit_transform_matrix(whole).matrix)


def test_rows_that_fill_more_than_a_block_are_all_summed() -> None:
    A, B = _rows(10_000)
    moments = _moments(A, B, 999)
    torch.testing.assert_close(moments.gram, A.T @ A)
    torch.testing.assert_close(moments.cross, A.T @ B)
    assert torch.equal(moments.gram, moments.gram.T)
    assert moments.rows == 10_000


@pytest.mark.parametrize("smallest", [1e-9, 1e-5, 1e-1])
def test_the_ridge_hides_no_lost_rank(smallest: float) -> None:
    """Directions of size `smallest` beside ones of size 1: above 1e-5 or so they count, whatever λ was added."""
    A, B = _rows(200)
    left, _, right = torch.linalg.svd(A, full_matrices=False)
    sizes = torch.ones(D)
    sizes[-3:] = smallest
    fit = fit_transform_matrix(_moments(left @ torch.diag(sizes).to(left) @ right, B))
    assert fit.rank == (D - 3 if smallest < 1e-7 else D)


def test_error_from_moments_equals_error_on_the_rows() -> None:
    A, B = _rows(300)
    moments = _moments(A, B, 70)
    W = fit_transform_matrix(moments).matrix
    assert moments.mean_squared_error(W) == pytest.approx(float((A @ W - B).square().mean()), rel=1e-9)
    assert moments.mean_squared_error(torch.zeros(D, D)) == pytest.approx(moments.english_squares / B.numel())
    torch.testing.assert_close(moments.english_mean, B.mean(0))


def test_condition_number_is_near_the_true_one() -> None:
    A, B = _rows(80)
    eigenvalues = torch.linalg.eigvalsh(A.T @ A)
    true = float(eigenvalues[-1] / eigenvalues[0])
    assert 0.85 * true < fit_transform_matrix(_moments(A, B), ridge=0).condition_number < 1.001 * true


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(TransformFailed, match="no activation row"):
        fit_transform_matrix(StreamingMoments(D))
    with pytest.raises(TransformFailed, match="all 3 activation rows are zero"):
        fit_transform_matrix(_moments(torch.zeros(3, D), torch.ones(3, D)))
    with pytest.raises(TransformFailed, match="not finite"):
        fit_transform_matrix(_moments(torch.full((3, D), torch.nan), torch.ones(3, D)))


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected rows of shape \(3, 24\)"):
        StreamingMoments(D).update(torch.ones(3, D), torch.ones(3, D - 1))


def test_figures_per_layer_and_overall_equal_the_slow_ones() -> None:
    layers, pairs = 3, 40
    A, B = _rows(pairs * layers)
    F, F_en = A.view(pairs, layers, D), B.view(pairs, layers, D) + torch.arange(layers).view(1, layers, 1)
    fit = fit_transform_matrix(_moments(F.flatten(0, 1), F_en.flatten(0, 1)))
    mean = F_en.mean((0, 1))
    errors = PredictionErrors(TransformMatrix(fit.matrix), mean, layers)
    for some, some_en in zip(F.split(7), F_en.split(7), strict=True):
        errors.update(some, some_en)
    report = errors.report("held_out_")
    slow = figures_by_layer(F.numpy(), F_en.numpy(), fit.matrix.numpy(), mean.numpy())
    for name, values in slow.items():
        assert report[f"held_out_layer_{name}"] == pytest.approx(values, rel=1e-9)
    assert report["held_out_mse"] == pytest.approx(np.mean(slow["mse"]), rel=1e-9)
    variance = float((F_en - mean).square().mean())
    assert report["held_out_variance"] == pytest.approx(variance)
    assert report["held_out_r2"] == pytest.approx(1 - np.mean(slow["mse"]) / variance)
    # the mean of the very rows it is measured on explains nothing, by definition
    assert report["held_out_mean_r2"] == pytest.approx(0, abs=1e-9)
