"""The fit from landmarks: the exact one where all pairs are landmarks, and within its bound of it elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cc_tuning.transform import landmarks as of_landmarks
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.fitting import FittedTransform, fit_spooled
from cc_tuning.transform.spool import FIT, ActivationSpool
from tests.transform.spooled_rows import Rows, pairs_of, spool_of

N, L, D = 48, 3, 8
LANGUAGES = ("swh_Latn", "yor_Latn")
PAIRS = pairs_of([place // 2 for place in range(N)], [LANGUAGES[place % 2] for place in range(N)])


def drawn(seed: int = 0) -> tuple[Rows, Rows, Rows]:
    """`F`, `F_en` and pooled states with a common part, layers of other sizes and constants far from zero."""
    draw = np.random.default_rng(seed)
    content, size = draw.normal(size=(N, 1, D)), np.array([10.0, 1.0, 0.1])[:, None]
    own, english = ((content + 0.5 * draw.normal(size=(N, L, D)) + 3 * np.arange(D)) * size for _ in range(2))
    return own, english, content + draw.normal(size=(N, L - 1, D))


def fitted(spool: ActivationSpool, **form: Any) -> FittedTransform:
    return fit_spooled(spool, FitConfig.model_validate({"features": "all_layers", "intercept": True} | form), PAIRS)


def matrix_of(fit: FittedTransform) -> Rows:
    """`W [L·D, L·D]` for raw activations."""
    assert fit.transform.output is not None
    return (fit.transform.matrix.double() @ fit.transform.output.double()).numpy()


@pytest.mark.parametrize("intercept", [False, True, "per_language"])
@pytest.mark.parametrize("features", ["all_layers", "pooled"])
@pytest.mark.parametrize("ridge", [0.1, "gcv", "cv"])
def test_the_fit_with_all_pairs_as_landmarks_is_the_exact_one(
    tmp_path: Path, features: str, intercept: bool | str, ridge: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_landmarks, "EXTRA_DIRECTIONS", 20_000)  # the sketch of targets is then exact to 1 %
    own, english, pooled = drawn()
    spool = spool_of(tmp_path, {FIT: (own, english)}, {FIT: pooled})
    form = {"features": features, "intercept": intercept, "ridge": ridge, "rank": 4}
    exact, other = fitted(spool, **form), fitted(spool, **form, kernel="landmarks", landmarks=N)
    tolerance = 1e-4 if ridge == 0.1 else 0.1  # a ridge chosen on a sketch
    assert other.fits[0].relative_ridge == pytest.approx(exact.fits[0].relative_ridge, rel=tolerance)
    assert other.fits[0].outside_share == pytest.approx(0, abs=1e-9)
    expected, found = matrix_of(exact), matrix_of(other)
    assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)
    assert (exact.transform.intercept is None) == (other.transform.intercept is None)
    if exact.transform.intercept is not None:
        torch.testing.assert_close(other.transform.intercept, exact.transform.intercept, rtol=0.02, atol=0.02)
    torch.testing.assert_close(other.english_mean, exact.english_mean)


def scaled(rows: Rows) -> tuple[Rows, Rows]:
    """`[N, layers·D]` about the mean, each layer divided by its spread, and the divisors by column."""
    about = rows - rows.mean(0)
    divisors = np.sqrt((about**2).sum((0, 2)))
    return (about / divisors[:, None]).reshape(len(rows), -1), np.repeat(divisors, rows.shape[2])


@pytest.mark.parametrize("landmarks", [2, 8, 20, 40])
def test_the_fit_is_within_its_bound_of_the_exact_one(tmp_path: Path, landmarks: int) -> None:
    own, english, _ = drawn()
    spool = spool_of(tmp_path, {FIT: (own, english)})
    fit = fitted(spool, kernel="landmarks", landmarks=landmarks, ridge=0.2, rank=1000)
    X, read = scaled(own)
    B, divisors = scaled(english)
    penalty = 0.2 * np.sum(X**2) / N
    exact = np.linalg.solve(X.T @ X + penalty * np.eye(L * D), X.T @ B)
    difference = matrix_of(fit) * read[:, None] / divisors - exact
    off = np.sum((X @ difference) ** 2) + penalty * np.sum(difference**2)
    # what the criterion rises by is known from kernels alone, and what is outside of the span bounds it
    span = np.linalg.qr(X[:landmarks].T)[0]
    K, inside = X @ X.T, X @ span @ span.T @ X.T
    hats = [of @ np.linalg.inv(of + penalty * np.eye(N)) for of in (K, inside)]
    assert off == pytest.approx(np.trace(B.T @ (hats[0] - hats[1]) @ B), rel=1e-3)
    outside = np.linalg.eigvalsh(K - inside)[-1]
    assert off <= outside / (outside + penalty) * np.sum(B**2)
    assert fit.fits[0].outside_share == pytest.approx(1 - np.trace(inside) / np.trace(K), rel=1e-6)


def test_rows_of_half_precision_are_fitted_as_the_same_rows_in_double_are(tmp_path: Path) -> None:
    own, english, _ = (torch.from_numpy(rows).bfloat16().double().numpy() for rows in drawn())
    form: dict[str, Any] = {"kernel": "landmarks", "landmarks": 30, "ridge": 0.1, "intercept": "per_language"}
    fits = [
        fitted(spool_of(tmp_path / str(dtype), {FIT: (own, english)}, dtype=dtype), **form)
        for dtype in (torch.bfloat16, torch.float64)
    ]
    half, double = map(matrix_of, fits)
    assert np.linalg.norm(half - double) < 1e-4 * np.linalg.norm(double)
    torch.testing.assert_close(fits[0].transform.intercept, fits[1].transform.intercept, rtol=1e-4, atol=1e-4)


def planted(rows: int, seed: int, latent: int = 10) -> tuple[Rows, Rows]:
    """A content of ten directions in 60 noisy features a layer: what N pairs tell, a few hundred tell as well."""
    loadings = np.random.default_rng(7).normal(size=(2, L, latent, 60))
    draw = np.random.default_rng(seed)
    content, noise = draw.normal(size=(rows, latent)), draw.normal(size=(2, rows, L, 60))
    own, english = np.einsum("nc,slcd->snld", content, loadings) + 2 * noise
    return own, english


@pytest.mark.parametrize("rank", [4, 10])
def test_few_landmarks_and_a_sketch_of_targets_predict_new_rows_as_the_exact_fit_does(
    tmp_path: Path, rank: int
) -> None:
    spool, (own, english) = spool_of(tmp_path, {FIT: planted(600, 1)}), planted(400, 2)

    def r2(**form: Any) -> float:
        config = FitConfig.model_validate(
            {"features": "all_layers", "intercept": True, "rank": rank, "ridge": "cv"} | form
        )
        pairs = pairs_of(list(range(600)), ["swh_Latn"] * 600)
        transform = fit_spooled(spool, config, pairs).transform.to("cpu", torch.float64)
        error = transform.apply(torch.from_numpy(own)).numpy() - english
        return float(1 - np.sum(error**2) / np.sum((english - english.mean(0)) ** 2))

    exact, other = r2(), r2(kernel="landmarks", landmarks=100)
    assert exact > 0.2
    assert other == pytest.approx(exact, abs=0.01)
