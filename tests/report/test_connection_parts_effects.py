"""Gains of the connection and the share that the matrix recovers, against sums by hand and slow methods."""

import math
import random

import numpy as np
import polars as pl
import pytest

from cc_tuning.report.config import Family
from cc_tuning.report.effects import ConnectionScores, fieller
from cc_tuning.report.scores import Bootstrap, Measure
from tests.reference.slow_bootstrap import slow_interval
from tests.report.made_evidence import Scores, score_frame
from tests.report.reported_runs import runs_of, seeds_of

NLL = Measure("MKQA", "gold_nll")
ACCURACY = Measure("MKQA", "accuracy")
SETTINGS = Bootstrap(samples=4000, confidence=0.95, seed=0)
FAMILY = Family("cc-tuning", "CC-Tuning", "", runs_of("cc-tuning"))
OFF: Scores = {("en", "a"): 3.0, ("en", "b"): 5.0, ("sw", "a"): 4.0, ("sw", "b"): 8.0}
PARALLEL: Scores = {("en", "a"): 2.0, ("en", "b"): 5.0, ("sw", "a"): 4.0, ("sw", "b"): 5.0}


def drawn_scores(mean: float, items: int = 60, seed: int = 0) -> Scores:
    """Items that are hard or easy in both languages."""
    lot = random.Random(seed)
    scores = {}
    for number in range(items):
        own = lot.gauss(mean, 1)
        for language in ("en", "sw"):
            scores[language, f"item-{number}"] = own + lot.gauss(0, 0.3)
    return scores


def test_gain_is_positive_where_a_negative_log_likelihood_falls() -> None:
    scores = score_frame("cc-tuning", {"off": OFF, "parallel": PARALLEL})
    arms = ConnectionScores(scores, FAMILY, NLL, ("parallel", "off"), SETTINGS)
    # English: (1 + 0) / 2, Swahili: (0 + 3) / 2, and their mean
    assert [arms.gain("parallel", "off", at).value for at in ("en", "sw", "avg")] == [0.5, 1.5, 1.0]
    assert arms.gain("parallel", "off").items == 4
    # two items are two draws: with one of them drawn twice the gain is (1 + 0) / 2 or (0 + 3) / 2
    assert (arms.gain("parallel", "off").low, arms.gain("parallel", "off").high) == (0.5, 1.5)


def test_gain_of_an_accuracy_is_positive_where_it_rises() -> None:
    scores = score_frame("cc-tuning", {"off": OFF, "parallel": PARALLEL}, metric="accuracy")
    assert ConnectionScores(scores, FAMILY, ACCURACY, ("parallel", "off"), SETTINGS).gain("parallel", "off").value == -1


def test_interval_is_that_of_the_slow_bootstrap_of_the_differences() -> None:
    off, on = drawn_scores(3.0), drawn_scores(2.7, seed=1)
    arms = ConnectionScores(
        score_frame("cc-tuning", {"off": off, "transform": on}), FAMILY, NLL, ("transform", "off"), SETTINGS
    )
    items: dict[str, dict[str, float]] = {}
    for (language, item), value in off.items():
        items.setdefault(item, {})[language] = value - on[language, item]
    value, low, high = slow_interval(items, 4000, 0.95, seed=1)
    gain = arms.gain("transform", "off")
    assert gain.value == pytest.approx(value)
    # the ends of two bootstraps with other draws differ by a few hundredths of the interval's width
    assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.08 * (high - low))


def test_items_that_one_kind_did_not_answer_are_left_out() -> None:
    fewer = {key: value for key, value in PARALLEL.items() if key != ("sw", "b")}
    arms = ConnectionScores(
        score_frame("cc-tuning", {"off": OFF, "parallel": fewer}), FAMILY, NLL, ("parallel", "off"), SETTINGS
    )
    assert (arms.items(), arms.items("sw")) == (3, 1)
    assert arms.gain("parallel", "off", "sw").value == 0.0
    assert arms.languages == ("en", "sw")


def test_a_kind_without_items_leaves_nothing_to_compare() -> None:
    arms = ConnectionScores(score_frame("cc-tuning", {"off": OFF}), FAMILY, NLL, ("parallel", "off"), SETTINGS)
    assert (arms.items(), arms.languages) == (0, ())


def test_an_items_score_is_its_mean_over_seeds_that_all_answered() -> None:
    family = Family("cc-tuning", "CC-Tuning", "", seeds_of(["cc-tuning"], [0, 1]))
    second = {key: value - 2 for key, value in PARALLEL.items() if key != ("en", "b")}
    scores = pl.concat(
        [
            score_frame("cc-tuning.s0", {"off": OFF, "parallel": PARALLEL}),
            score_frame("cc-tuning.s1", {"off": OFF, "parallel": second}),
        ]
    )
    arms = ConnectionScores(scores, family, NLL, ("parallel", "off"), SETTINGS)
    assert arms.items() == 3
    # English item a: gains 1 and 3; Swahili a: 0 and 2, b: 3 and 5
    assert (arms.gain("parallel", "off", "en").value, arms.gain("parallel", "off", "sw").value) == (2.0, 2.5)


def test_share_is_the_ratio_of_the_gains() -> None:
    off, parallel = drawn_scores(5.0), drawn_scores(3.0, seed=1)
    half = {key: off[key] - 0.5 * (off[key] - parallel[key]) for key in off}
    frame = score_frame("cc-tuning", {"off": off, "parallel": parallel, "transform": half})
    arms = ConnectionScores(frame, FAMILY, NLL, ("transform", "parallel", "off"), SETTINGS)
    share = arms.share("transform", "parallel", "off")
    assert share is not None
    # the matrix reaches exactly half of each item's gain, so nothing is left that could vary
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.5, 0.5), abs=1e-6)


def test_there_is_no_share_of_a_gain_that_may_be_zero() -> None:
    off, parallel = drawn_scores(3.0), drawn_scores(3.0, seed=1)
    frame = score_frame("cc-tuning", {"off": off, "parallel": parallel, "transform": off})
    arms = ConnectionScores(frame, FAMILY, NLL, ("transform", "parallel", "off"), SETTINGS)
    assert not arms.gain("parallel", "off").is_clear
    assert arms.share("transform", "parallel", "off") is None


@pytest.mark.parametrize("covariance", [[[0.04, 0.0], [0.0, 0.09]], [[0.04, 0.05], [0.05, 0.09]]])
def test_fieller_holds_the_ratios_that_a_test_does_not_refuse(covariance: list[list[float]]) -> None:
    part, whole = 0.8, 2.0
    share = fieller(part, whole, np.array(covariance), 0.95)
    assert share is not None
    (v_pp, v_pw), (_, v_ww) = covariance
    ratios = np.linspace(-3, 3, 600_001)
    errors = np.sqrt(v_pp - 2 * ratios * v_pw + ratios**2 * v_ww)
    kept = ratios[np.abs(part - ratios * whole) <= 1.959964 * errors]
    assert (share.low, share.high) == pytest.approx((kept[0], kept[-1]), abs=2e-5)
    assert share.value == pytest.approx(0.4)


def test_fieller_has_no_end_where_the_whole_may_be_zero() -> None:
    assert fieller(1.0, 1.9, np.array([[1.0, 0.0], [0.0, 1.0]]), 0.95) is None
    assert fieller(1.0, 2.0, np.array([[1.0, 0.0], [0.0, 1.0]]), 0.95) is not None


def test_fieller_holds_the_true_share_in_95_of_100_experiments() -> None:
    covariance = np.array([[0.03, 0.012], [0.012, 0.02]])
    drawn = np.random.default_rng(0).multivariate_normal([0.6, 1.2], covariance, size=2000)
    shares = [fieller(part, whole, covariance, 0.95) for part, whole in drawn]
    held = [share.low <= 0.5 <= share.high for share in shares if share is not None]
    assert len(held) == 2000
    # 2,000 experiments have a standard error of sqrt(0.95 · 0.05 / 2000) = 0.5 points
    assert math.isclose(np.mean(held), 0.95, abs_tol=0.015)
