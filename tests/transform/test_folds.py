"""The ridge by cross-validation over folds against a fit for each fold, and which pairs are in one fold."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.errors import TransformFailed
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.fitting import FittedTransform, fit_spooled
from cc_tuning.transform.folds import ChosenRidge, folds_of
from cc_tuning.transform.spool import FIT
from tests.reference.grouped_ridge import about_means, held_out_error
from tests.reference.least_squares import ridge_matrix
from tests.transform.spooled_rows import Rows, pairs_of, spool_of

N, L, D = 40, 2, 6
LANGUAGES = ["swh_Latn", "yor_Latn", "hau_Latn"]


def drawn(seed: int = 0) -> tuple[Rows, Rows, list[int], list[int]]:
    """`F`, `F_en`, the English prompt of each pair and its language; a signal in much noise, about means far from 0."""
    draw = np.random.default_rng(seed)
    groups = [place % 3 for place in range(N)]
    offsets = 3 * draw.normal(size=(3, L, D))[groups]
    own = draw.normal(size=(N, L, D)) * np.logspace(0.5, -1, D)
    english = own @ draw.normal(size=(D, D)) + 2 * draw.normal(size=(N, L, D))
    return own + 2 + offsets, english + 1 - offsets, [place // 2 for place in range(N)], groups


def fitted(folder: Path, **config: object) -> tuple[FittedTransform, Rows, Rows, list[int], list[int]]:
    own, english, texts, groups = drawn()
    pairs = pairs_of(texts, [LANGUAGES[group] for group in groups])
    settings = FitConfig.model_validate({"ridge": "cv", **config})
    fit = fit_spooled(spool_of(folder, {FIT: (own, english)}), settings, pairs)
    return fit, own, english, groups, folds_of(pairs, settings.folds, settings.seed)


@pytest.mark.parametrize("intercept", [False, True, "per_language"])
@pytest.mark.parametrize("matrix", ["shared", "per_layer"])
def test_errors_are_those_of_a_fit_for_each_fold(tmp_path: Path, matrix: str, intercept: bool | str) -> None:
    fit, own, english, languages, folds = fitted(tmp_path, matrix=matrix, intercept=intercept)
    parts = [slice(0, L)] if matrix == "shared" else [slice(layer, layer + 1) for layer in range(L)]
    groups = languages if intercept == "per_language" else [0] * N
    for part, chosen in zip(parts, fit.chosen, strict=True):
        A, B = (side[:, part].reshape(-1, D) for side in (own, english))
        width = A.shape[0] // N
        of_rows, folds_of_rows = (np.repeat(of, width) for of in (groups, folds))

        def slow(relative: float, data: tuple[Rows, Rows, Rows, Rows] = (A, B, of_rows, folds_of_rows)) -> float:
            return held_out_error(*data, relative, bool(intercept)) / data[1].size

        for relative, error in list(zip(ChosenRidge.curve_ridges(), chosen.curve, strict=True))[::4]:
            assert error == pytest.approx(slow(relative), rel=1e-6)
        assert chosen.mse == pytest.approx(slow(chosen.relative), rel=1e-6)
        assert chosen.mse <= min(slow(relative) for relative in np.logspace(-6, 3, 40)) * (1 + 1e-6)
    assert fit.summary()["cv_curves"][0][0] > fit.chosen[0].mse


def test_matrix_and_intercepts_are_those_of_the_chosen_ridge_on_all_pairs(tmp_path: Path) -> None:
    fit, own, english, groups, _ = fitted(tmp_path, matrix="per_layer", intercept="per_language")
    transform = fit.transform
    assert transform.languages == ("hau_Latn", "swh_Latn", "yor_Latn")
    assert transform.intercept is not None and transform.intercept.shape == (3, L, D)
    for layer in range(L):
        A, B = (about_means(side[:, layer], groups, side[:, layer], groups, True) for side in (own, english))
        penalty = fit.chosen[layer].relative * np.sum(A**2) / D
        np.testing.assert_allclose(transform.matrix[layer].numpy(), ridge_matrix(A, B, penalty), rtol=1e-4, atol=1e-5)
        for place, group in enumerate([2, 0, 1]):
            rows = [at for at in range(N) if groups[at] == group]
            expected = english[rows, layer].mean(0) - own[rows, layer].mean(0) @ ridge_matrix(A, B, penalty)
            np.testing.assert_allclose(transform.intercept[place, layer].numpy(), expected, rtol=1e-4, atol=1e-4)


@given(texts=st.lists(st.integers(0, 12), min_size=4, max_size=60), seed=st.integers(0, 3))
def test_pairs_of_one_english_prompt_are_in_one_fold_and_folds_are_even(texts: list[int], seed: int) -> None:
    pairs = pairs_of(texts, ["swh_Latn"] * len(texts))
    if len(set(texts)) < 2:
        with pytest.raises(TransformFailed, match="1 English prompt, at least two"):
            folds_of(pairs, 5, seed)
        return
    folds = folds_of(pairs, 5, seed)
    assert set(folds) == set(range(min(5, len(set(texts)))))
    of_text = dict(zip(texts, folds, strict=True))
    assert [of_text[text] for text in texts] == folds
    most = max(texts.count(text) for text in set(texts))
    sizes = [folds.count(fold) for fold in set(folds)]
    assert max(sizes) - min(sizes) <= most
    assert folds_of(pairs[::-1], 5, seed) == folds[::-1]


def test_repeated_english_prompts_make_plain_folds_choose_a_smaller_ridge(tmp_path: Path) -> None:
    """Where all pairs of a prompt share target and nearly features, a fold that has it twice rewards memory."""
    draw = np.random.default_rng(1)
    texts = [place // 4 for place in range(48)]
    own = draw.normal(size=(12, 1, D + 10))[texts] + 0.01 * draw.normal(size=(48, 1, D + 10))
    english = draw.normal(size=(12, 1, D + 10))[texts]  # nothing of it can be predicted for a new prompt
    spool = spool_of(tmp_path, {FIT: (own, english)})
    config = FitConfig(ridge="cv", intercept=True)
    together = fit_spooled(spool, config, pairs_of(texts, ["swh_Latn"] * 48)).chosen[0]
    apart = fit_spooled(spool, config, pairs_of(list(range(48)), ["swh_Latn"] * 48)).chosen[0]
    assert apart.relative < 1e-2 * together.relative
    assert apart.mse < 0.2 * together.mse
