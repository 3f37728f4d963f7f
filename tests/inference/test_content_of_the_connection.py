"""Whether the instrument tells a connection that carries content from one that does not, with intervals."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.model import ConnectionConfig, ConnectionMode, CrossLingualModel
from tests.inference.english_words import LENGTH, WORDS, asked, connected_reader, drawn_rows

ITEMS, STEPS = 200, 300
VARIANTS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "mean, standardised, as long as f_1": {"selector": "mean", "normalise": "standardised", "scale": 1.0},
}


def log_likelihoods(model: CrossLingualModel, is_content: bool) -> dict[str, np.ndarray]:
    """Of the words of new rows, by mode; the English prompt of `other` is that of the next item."""
    rows = drawn_rows(ITEMS, torch.Generator().manual_seed(99), is_content)
    constant = mean_carried_vector(model, asked(rows)[0], batch_size=ITEMS)

    def of(mode: ConnectionMode, shift: int = 0) -> np.ndarray:
        prompts, words = asked(rows, shift)
        scores = score_candidates(
            model, prompts, [[word] for word in words], mode, constant if mode == "constant" else None
        )
        return np.array([score.log_likelihood for (score,) in scores])

    modes: tuple[ConnectionMode, ...] = ("off", "transform", "parallel", "constant", "identity")
    return {mode: of(mode) for mode in modes} | {"other": of("other", 1)}


def fit_least_squares(model: CrossLingualModel) -> None:
    """Give the model the Transform Matrix of 400 pairs, by least squares over rows and layers (eq. 7)."""
    rows = drawn_rows(400, torch.Generator().manual_seed(98), True)

    def stacked(prompts: Tensor) -> Tensor:
        last = torch.full((len(prompts),), LENGTH - 1)
        return model.activations(prompts, torch.ones_like(prompts), last).flatten(0, 1).double()

    own, english = stacked(rows.prompts), stacked(rows.english)
    ridge = 1e-6 * own.square().sum(0).mean() * torch.eye(own.shape[1], dtype=torch.float64)
    model.set_transform_matrix(torch.linalg.solve(own.T @ own + ridge, own.T @ english).float())


def interval_of(differences: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of 2,000 bootstrap means over items."""
    places = np.random.default_rng(0).integers(0, len(differences), (2000, len(differences)))
    low, high = np.quantile(differences[places].mean(1), (0.025, 0.975))
    return float(low), float(high)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_parallel_is_far_above_every_control_where_only_the_english_prompt_says_the_word(variant: str) -> None:
    model, _ = connected_reader(ConnectionConfig(**VARIANTS[variant]), is_content=True, steps=STEPS)
    fit_least_squares(model)
    found = log_likelihoods(model, is_content=True)
    for mode in ("off", "other", "constant", "identity", "transform"):
        low, _ = interval_of(found["parallel"] - found[mode])
        assert low > 1, f"parallel over {mode}: {low} nats"
    assert interval_of(found["parallel"] - found["other"])[0] > 3
    assert found["parallel"].mean() > -1 > -np.log(WORDS)  # better than guessing among all words


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_above_its_controls_where_the_english_prompt_says_another_word(variant: str) -> None:
    model, _ = connected_reader(ConnectionConfig(**VARIANTS[variant]), is_content=False, steps=STEPS)
    fit_least_squares(model)
    found = log_likelihoods(model, is_content=False)
    low, high = interval_of(found["parallel"] - found["other"])
    # The interval has zero in it, give or take what nobody would call content, and is narrow enough to say so.
    assert -0.05 < low <= 0.005 and -0.005 <= high < 0.05
    for mode in ("parallel", "other", "constant"):
        assert found[mode].mean() == pytest.approx(-np.log(WORDS), abs=0.1)
