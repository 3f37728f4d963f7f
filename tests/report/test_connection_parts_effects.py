"""Gains of the connection and the share that the matrix recovers, against sums by hand and slow methods."""

import math
import random

import numpy as np
import polars as pl
import pytest

from cc_tuning.report.config import Family
from cc_tuning.report.connection_modes import ConnectionModes
from cc_tuning.report.effects import Gain, fieller, share_of
from cc_tuning.report.scores import Measure
from tests.reference.slow_bootstrap import slow_interval
from tests.report.made_evidence import Scores, evidence_of, score_frame
from tests.report.reported_runs import runs_of, seeds_of

NLL = Measure("MKQA", "gold_nll")
ACCURACY = Measure("MKQA", "accuracy")
RUNS = runs_of("cc-tuning")
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


def modes_of(
    scores: dict[str, Scores], metric: str = "gold_nll", clusters: dict[str, str] | None = None
) -> ConnectionModes:
    frame = score_frame("cc-tuning", scores, metric=metric)
    if clusters:
        frame = frame.with_columns(cluster=pl.col("item_id").replace_strict(clusters))
    return ConnectionModes(evidence_of(RUNS, {"cc-tuning": frame}, samples=4000).results)


def gain_in(modes: ConnectionModes, mode: str, measure: Measure = NLL, language: str = "avg") -> Gain:
    (family,) = modes.families
    gain = modes.gain(family, measure, mode, language=language)
    assert gain is not None
    return gain


def test_gain_is_positive_where_a_negative_log_likelihood_falls() -> None:
    modes = modes_of({"off": OFF, "parallel": PARALLEL})
    # English: (1 + 0) / 2, Swahili: (0 + 3) / 2, and their mean
    assert [gain_in(modes, "parallel", language=at).value for at in ("en", "sw", "avg")] == [0.5, 1.5, 1.0]
    assert gain_in(modes, "parallel").items == 4


def test_gain_of_an_accuracy_is_positive_where_it_rises() -> None:
    modes = modes_of({"off": dict.fromkeys(OFF, 100.0), "transform": dict.fromkeys(OFF, 0.0)}, "accuracy")
    assert gain_in(modes, "transform", ACCURACY).value == -100.0


def test_interval_is_that_of_the_slow_bootstrap_of_the_differences() -> None:
    off, on = drawn_scores(3.0), drawn_scores(2.7, seed=1)
    items: dict[str, list[tuple[str, float]]] = {}
    for (language, item), value in off.items():
        items.setdefault(item, []).append((language, value - on[language, item]))
    value, low, high = slow_interval(items, 4000, 0.025, seed=1)
    gain = gain_in(modes_of({"off": off, "transform": on}), "transform")
    assert gain.value == pytest.approx(value)
    # intervals with other draws, and with a margin for few units, differ by hundredths of their width
    assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_a_kind_that_was_not_measured_has_no_gain() -> None:
    modes = modes_of({"off": OFF, "parallel": PARALLEL})
    (family,) = modes.families
    assert modes.of(family) == ("parallel",)
    assert modes.gain(family, NLL, "transform") is None
    assert modes.share(family, NLL) is None


def test_share_is_the_ratio_of_the_gains() -> None:
    off, parallel = drawn_scores(5.0), drawn_scores(3.0, seed=1)
    half = {key: off[key] - 0.5 * (off[key] - parallel[key]) for key in off}
    modes = modes_of({"off": off, "parallel": parallel, "transform": half})
    share = modes.share(modes.families[0], NLL)
    assert share is not None
    # the matrix reaches exactly half of each item's gain, so nothing is left that could vary
    assert (share.value, share.low, share.high) == pytest.approx((0.5, 0.5, 0.5), abs=1e-6)


def test_interval_of_a_share_is_that_of_resampled_ratios() -> None:
    off, parallel, matrix = drawn_scores(5.0), drawn_scores(3.0, seed=1), drawn_scores(4.0, seed=2)
    modes = modes_of({"off": off, "parallel": parallel, "transform": matrix})
    share = modes.share(modes.families[0], NLL)
    items = sorted({item for _, item in off})
    gains = np.array(
        [[[off[at, item] - of[at, item] for at in ("en", "sw")] for item in items] for of in (matrix, parallel)]
    ).mean(axis=2)
    draws = np.random.default_rng(0).integers(len(items), size=(20_000, len(items)))
    part, whole = gains[:, draws].mean(axis=2)
    low, high = np.percentile(part / whole, [2.5, 97.5])
    assert share is not None
    assert share.value == pytest.approx(gains[0].mean() / gains[1].mean())
    # both are first-order in 1/√n
    assert (share.low, share.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_items_of_one_cluster_are_one_draw_of_a_share() -> None:
    off, parallel, matrix = drawn_scores(5.0), drawn_scores(3.0, seed=1), drawn_scores(4.0, seed=2)
    scores = {"off": off, "parallel": parallel, "transform": matrix}
    # every item twice: as many different texts, so the interval must stay as wide as it was
    twice = {
        mode: {(at, f"{item}-{copy}"): value for (at, item), value in of.items() for copy in "ab"}
        for mode, of in scores.items()
    }
    clusters = {f"{item}-{copy}": item for _, item in off for copy in "ab"}
    once, doubled = modes_of(scores), modes_of(twice, clusters=clusters)
    shares = [modes.share(modes.families[0], NLL) for modes in (once, doubled)]
    assert shares[0] is not None and shares[1] is not None
    assert (shares[1].low, shares[1].high) == pytest.approx((shares[0].low, shares[0].high), rel=1e-9)


def test_there_is_no_share_of_a_gain_that_may_be_zero() -> None:
    off = drawn_scores(3.0)
    modes = modes_of({"off": off, "parallel": drawn_scores(3.0, seed=1), "transform": off})
    assert gain_in(modes, "parallel").verdict == "undecided"
    assert modes.share(modes.families[0], NLL) is None


def test_share_of_seeds_is_that_of_items_averaged_over_them() -> None:
    off = drawn_scores(5.0)
    runs = seeds_of(["cc-tuning"], [0, 1])
    frames = {
        f"cc-tuning.s{seed}": score_frame(
            f"cc-tuning.s{seed}",
            {
                "off": off,
                "parallel": {key: value - 2 for key, value in off.items()},
                "transform": {key: value - part for key, value in off.items()},
            },
        )
        for seed, part in ((0, 0.5), (1, 1.5))
    }
    family = Family("cc-tuning", "CC-Tuning", "", runs)
    share = share_of(pl.concat(frames.values()), family, NLL, ("transform", "parallel", "off"), 0.95)
    assert share is not None and share.value == pytest.approx(0.5)


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
