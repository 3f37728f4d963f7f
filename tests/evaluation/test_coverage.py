"""Intervals hold the truth as often as they say, and a gate calls a drop where there is none at most one time in 20."""

import numpy as np
import pytest

from benchmarks.coverage import LEVEL, Design, gate_alarms, judge, likelihoods, right_or_wrong, scenarios, seed_figures
from cc_tuning.evaluation.statistics.intervals import Settings

EXPERIMENTS = 2_000
SETTINGS = Settings(samples=2_000)
ERROR = 0.005
"""Of a share of 95 % in 2,000 experiments."""
OVER_CAREFUL = ("12 items, one", "2 % right", "99 % and 96 %", "3 % right")
"""Where hardly any unit differs, no interval of right-or-wrong scores can be close to its confidence from above."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged():  # type: ignore[no-untyped-def]
    return [judge(scenario, EXPERIMENTS, SETTINGS, seed) for seed, scenario in enumerate(scenarios())]


def test_intervals_of_differences_hold_the_truth_in_93_to_97_of_100_experiments(judged) -> None:  # type: ignore[no-untyped-def]
    shares = {of.scenario.name: of.coverage for of in judged}
    assert len(judged) >= 15
    for name, share in shares.items():
        most = 1.0 if any(part in name for part in OVER_CAREFUL) else 0.97
        assert 0.93 - ERROR <= share <= most + ERROR, shares


def test_a_difference_where_there_is_none_is_called_at_most_one_time_in_20(judged) -> None:  # type: ignore[no-untyped-def]
    for of in judged:
        assert of.false_alarms <= LEVEL + 3 * ERROR, of.scenario.name
    assert gate_alarms(judged) <= LEVEL


def test_seeds_that_lie_apart_are_no_difference() -> None:
    for seeds, points in ((2, 2.0), (3, 2.0), (3, 0.0)):
        figures = seed_figures(seeds, points, 500, Settings(samples=400), seed=1)
        assert figures.coverage >= 0.93
        assert figures.called <= LEVEL + 0.02
        if points:
            assert figures.called_by_items_alone > 0.2  # which is why items alone do not decide


def test_populations_have_the_difference_that_they_claim() -> None:
    """The truth of a scenario against the mean of many experiments."""
    generator = np.random.default_rng(3)
    cells, item = Design(500, 2, 2).cells()
    for draw, truth in ((right_or_wrong(0.46, 0.42), 4.0), (likelihoods(0.02), 0.02)):
        ours, theirs = draw(cells, item, 200, generator)
        spread = np.std((ours - theirs).mean(axis=0)) / np.sqrt(200)
        assert (ours - theirs).mean() == pytest.approx(truth, abs=4 * spread)
    for scenario in scenarios():
        cells, item = scenario.design.cells()
        ours, theirs = scenario.draw(cells, item, 300, generator)
        means = (ours - theirs).mean(axis=0)
        assert means.mean() == pytest.approx(scenario.truth, abs=4 * np.std(means) / np.sqrt(300) + 1e-9)
