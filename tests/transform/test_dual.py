"""The map in two factors, fitted in the dual, against ridge regression in the primal with all rows in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cc_tuning.errors import ConfigError, TransformFailed
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.dual_memory import needed_bytes, require_memory
from cc_tuning.transform.fitting import fit_spooled
from cc_tuning.transform.folds import ChosenRidge, folds_of
from cc_tuning.transform.spool import FIT
from tests.reference.grouped_ridge import about_means, held_out_error
from tests.reference.least_squares import cross_validation_score, ridge_matrix
from tests.transform.spooled_rows import Rows, pairs_of, spool_of

N, L, D = 24, 3, 5
LANGUAGES = ["swh_Latn", "yor_Latn"]
PLACES = [place % 2 for place in range(N)]
PAIRS = pairs_of([place // 2 for place in range(N)], [LANGUAGES[place] for place in PLACES])


def drawn(pairs: int = N) -> tuple[Rows, Rows, Rows]:
    """`F`, `F_en` and pooled states; a part of each layer is in all of them, and layers differ in size."""
    draw = np.random.default_rng(0)
    content, size = draw.normal(size=(pairs, 1, D)), np.array([10.0, 1.0, 0.1])[:, None]
    own, english = ((content + draw.normal(size=(pairs, L, D)) + 3 * np.arange(D)) * size for _ in range(2))
    return own, english, content + draw.normal(size=(pairs, L - 1, D))


def scaled(rows: Rows, groups: list[int], centred: bool) -> tuple[Rows, Rows]:
    """Rows `[N, layers·D]` about the groups' means, each layer divided by its spread, and the divisors."""
    about = about_means(rows, groups, rows, groups, centred)
    divisors = np.sqrt((about**2).sum((0, 2)))
    return (about / divisors[:, None]).reshape(len(rows), -1), divisors


@pytest.mark.parametrize("intercept", [False, True, "per_language"])
@pytest.mark.parametrize("features", ["all_layers", "pooled"])
def test_predictions_at_full_rank_are_those_of_ridge_regression(
    tmp_path: Path, features: str, intercept: bool | str
) -> None:
    own, english, pooled = drawn()
    spool = spool_of(tmp_path, {FIT: (own, english)}, {FIT: pooled})
    config = FitConfig.model_validate({"features": features, "ridge": 0.3, "rank": 1000, "intercept": intercept})
    fit = fit_spooled(spool, config, PAIRS)
    groups = PLACES if intercept == "per_language" else [0] * N
    read = pooled if features == "pooled" else own
    X, _ = scaled(read, groups, bool(intercept))
    Y, divisors = scaled(english, groups, bool(intercept))
    W = ridge_matrix(X, Y, 0.3 * np.sum(X**2) / N)
    expected = (X @ W).reshape(N, L, D) * divisors[:, None]
    expected += english - about_means(english, groups, english, groups, bool(intercept))
    places = torch.tensor(PLACES) if intercept == "per_language" else None
    predicted = fit.transform.to("cpu", torch.float64).apply(torch.from_numpy(own), torch.from_numpy(pooled), places)
    np.testing.assert_allclose(predicted.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert fit.transform.languages == (tuple(LANGUAGES) if intercept == "per_language" else ())


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_no_map_of_the_rank_has_a_lower_penalised_error(tmp_path: Path, rank: int) -> None:
    own, english, _ = drawn()
    config = FitConfig.model_validate({"features": "all_layers", "ridge": 0.1, "rank": rank, "intercept": True})
    fit = fit_spooled(spool_of(tmp_path, {FIT: (own, english)}), config, PAIRS)
    X, read_divisors = scaled(own, [0] * N, True)
    Y, divisors = scaled(english, [0] * N, True)
    penalty = 0.1 * np.sum(X**2) / N

    def criterion(W: Rows) -> float:
        return float(np.sum((X @ W - Y) ** 2) + penalty * np.sum(W**2))

    assert fit.transform.output is not None and fit.transform.matrix.shape == (L * D, rank)
    U = fit.transform.matrix.double().numpy() * np.repeat(read_divisors, D)[:, None]
    V = fit.transform.output.double().numpy() / np.repeat(divisors, D)
    full = ridge_matrix(X, Y, penalty)
    # the norm of what is cut off, in the metric of XᵀX + λI, has the singular values of the rest (Eckart and Young)
    root = np.linalg.cholesky(X.T @ X + penalty * np.eye(L * D))
    rest = np.linalg.svd(root.T @ full, compute_uv=False)[rank:]
    assert criterion(U @ V) - criterion(full) == pytest.approx(np.sum(rest**2), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("intercept", [False, True, "per_language"])
def test_ridge_over_folds_is_that_of_a_fit_for_each_fold(tmp_path: Path, intercept: bool | str) -> None:
    own, english, _ = drawn()
    config = FitConfig.model_validate({"features": "all_layers", "ridge": "cv", "intercept": intercept})
    chosen = fit_spooled(spool_of(tmp_path, {FIT: (own, english)}), config, PAIRS).chosen[0]
    groups = PLACES if intercept == "per_language" else [0] * N
    whole = (about_means(side, groups, side, groups, bool(intercept)) for side in (own, english))
    divisors = [np.sqrt((about**2).sum((0, 2)))[:, None] for about in whole]
    X, Y = ((side / of).reshape(N, -1) for side, of in zip((own, english), divisors, strict=True))
    folds = folds_of(PAIRS, config.folds, config.seed)

    def slow(relative: float) -> float:
        return held_out_error(X, Y, groups, folds, relative, bool(intercept), per_row=True) / (N * L)

    for relative, error in list(zip(ChosenRidge.curve_ridges(), chosen.curve, strict=True))[::3]:
        assert error == pytest.approx(slow(relative), rel=1e-5)
    assert chosen.mse == pytest.approx(slow(chosen.relative), rel=1e-6)


def test_generalised_cross_validation_is_that_of_the_hat_matrix(tmp_path: Path) -> None:
    own, english, _ = drawn()
    config = FitConfig.model_validate({"features": "all_layers", "ridge": "gcv", "intercept": True})
    fit = fit_spooled(spool_of(tmp_path, {FIT: (own, english)}), config, PAIRS).fits[0]
    X, Y = (scaled(side, [0] * N, True)[0] for side in (own, english))
    assert fit.gcv_score == pytest.approx(cross_validation_score(X, Y, fit.ridge, True), rel=1e-6)


def test_a_fit_that_does_not_go_into_memory_says_what_it_needs(tmp_path: Path) -> None:
    own, english, _ = drawn()
    spool = spool_of(tmp_path, {FIT: (own, english)})
    for form, remedy in (({}, "kernel: landmarks"), ({"kernel": "landmarks", "landmarks": 7}, "fewer .*landmarks")):
        config = FitConfig.model_validate({"features": "all_layers", **form})
        needed = needed_bytes(config, N, L, D)
        with pytest.raises(TransformFailed, match=rf"{N} pairs with 3 x 5 features needs .*{remedy}"):
            require_memory(spool, config, needed - 1)
        require_memory(spool, config, needed)


@pytest.mark.parametrize("features", ["layer", "all_layers"])
def test_fewer_pairs_than_languages_are_refused(tmp_path: Path, features: str) -> None:
    own, english, _ = drawn(3)
    pairs = pairs_of([0, 1, 2], ["swh_Latn", "yor_Latn", "hau_Latn"])
    config = FitConfig.model_validate({"features": features, "intercept": "per_language"})
    with pytest.raises(TransformFailed, match="3 fitted pairs in 3 languages"):
        fit_spooled(spool_of(tmp_path, {FIT: (own, english)}), config, pairs)


def test_a_language_without_a_pair_or_an_untold_one_is_refused(tmp_path: Path) -> None:
    own, english, _ = drawn()
    config = FitConfig(intercept="per_language")
    transform = fit_spooled(spool_of(tmp_path, {FIT: (own, english)}), config, PAIRS).transform
    with pytest.raises(
        ConfigError, match=r"2 languages \(swh_Latn, yor_Latn\); it cannot answer prompts in 'hau_Latn'"
    ):
        transform.places_of(["swh_Latn", "hau_Latn"], torch.device("cpu"))
    with pytest.raises(ConfigError, match="the language of each prompt must be known"):
        transform.places_of(None, torch.device("cpu"))
    assert transform.places_of(["yor_Latn", "eng_Latn"], torch.device("cpu")).tolist() == [1, -1]
