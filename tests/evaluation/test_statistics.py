"""Bootstrap intervals against a slow loop, closed forms, and their promise to cover the truth."""

import numpy as np
import polars as pl
import pytest

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.statistics import paired_difference, resample, score_interval
from tests.reference.slow_bootstrap import slow_interval


def _scores(values: np.ndarray, languages: str = "abc", **constants: str) -> pl.DataFrame:
    """Rows of a table `[items, languages]`; NaN where an item is not in a language."""
    rows = [
        {"language": language, "item_id": f"x-{item}", "value": float(values[item, column])}
        for item in range(len(values))
        for column, language in enumerate(languages)
        if not np.isnan(values[item, column])
    ]
    same = {"run": "a", "connection": "off", "benchmark": "XNLI", "metric": "accuracy", **constants}
    return pl.DataFrame(rows).with_columns(**{name: pl.lit(value) for name, value in same.items()})


def _items(values: np.ndarray, languages: str = "abc") -> dict[str, dict[str, float]]:
    return {
        str(number): {name: float(value) for name, value in zip(languages, row, strict=True) if not np.isnan(value)}
        for number, row in enumerate(values)
    }


def _table(items: int, seed: int = 0) -> np.ndarray:
    """Scores 0 or 100 that depend on the item as well as on the language."""
    draw = np.random.default_rng(seed)
    hardness = draw.random((items, 1))
    return 100.0 * (draw.random((items, 3)) * 0.5 + hardness * 0.5 > np.array([0.3, 0.5, 0.6]))


def _not_parallel(items: int) -> np.ndarray:
    values = np.full((3 * items, 3), np.nan)
    for column in range(3):
        values[column * items : (column + 1) * items, column] = _table(items, column)[:, column]
    return values


@pytest.mark.parametrize("values", [_table(40), _not_parallel(30)], ids=["parallel", "not parallel"])
def test_average_interval_equals_the_slow_bootstrap(values: np.ndarray) -> None:
    value, low, high = slow_interval(_items(values), samples=3000, confidence=0.9, seed=1)
    fast = resample(_scores(values), samples=20_000, seed=2).average(confidence=0.9)
    assert fast.value == pytest.approx(value)
    step = 100 / (~np.isnan(values)).sum()  # the averages are multiples of this, and both are Monte Carlo
    assert fast.low == pytest.approx(low, abs=1.01 * step)
    assert fast.high == pytest.approx(high, abs=1.01 * step)
    assert high - low > 8 * step


def test_items_keep_their_languages_together() -> None:
    """When all languages agree on every item, averaging over them must not narrow the interval."""
    column = _table(200)[:, :1]
    resampled = resample(_scores(np.repeat(column, 3, axis=1)), samples=2000)
    assert resampled.average() == resampled.interval("a") == resampled.interval("c")


def test_interval_has_the_width_of_the_normal_approximation() -> None:
    values = 100.0 * (np.arange(1000) % 2)
    interval = score_interval(values, samples=20_000)
    half = 1.96 * 50 / np.sqrt(1000)
    assert interval.value == 50
    assert interval.low == pytest.approx(50 - half, abs=0.25)
    assert interval.high == pytest.approx(50 + half, abs=0.25)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    draw = np.random.default_rng(5)
    truth = 30.0
    covered = 0
    for trial in range(200):
        interval = score_interval(100.0 * (draw.random(150) < truth / 100), samples=400, seed=trial)
        covered += interval.low <= truth <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    scores = _scores(_table(50))
    shuffled = scores.sample(fraction=1, shuffle=True, seed=3)
    assert resample(scores, samples=500).average() == resample(shuffled, samples=500).average()
    assert resample(scores, samples=500, seed=1).average() != resample(scores, samples=500, seed=2).average()


def test_resamples_that_need_several_chunks_are_all_made() -> None:
    resampled = resample(_scores(_table(50)), samples=80_001)  # 4,000,050 draws: one chunk holds 4,000,000
    assert resampled.replicates.shape == (80_001, 3)
    assert resampled.counts == (50, 50, 50)


def test_one_item_has_an_interval_of_no_width() -> None:
    interval = score_interval([100.0], samples=10)
    assert (interval.value, interval.low, interval.high) == (100, 100, 100)


def test_paired_difference_is_narrower_than_the_runs_apart() -> None:
    values = _table(300)
    better = values.copy()
    better[:30, 0] = 100
    a, b = _scores(better, run="a"), _scores(values, run="b")
    difference = paired_difference(a, b, samples=2000)
    own = resample(a, samples=2000).average()
    assert difference.value == pytest.approx((better - values).mean())
    assert 0 < difference.low < difference.value < difference.high
    assert difference.high - difference.low < (own.high - own.low) / 2
    assert (difference.items, difference.unmatched) == (900, 0)
    swapped = paired_difference(b, a, samples=2000)
    assert swapped.value == pytest.approx(-difference.value)


def test_paired_difference_joins_on_ids_and_counts_what_has_no_partner() -> None:
    values = _table(20)
    a = _scores(values).sample(fraction=1, shuffle=True, seed=1)
    b = _scores(values).filter(pl.col("item_id") != "x-3")
    difference = paired_difference(a, b, samples=100)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert (difference.items, difference.unmatched) == (57, 3)


def test_paired_difference_refuses_what_cannot_be_compared() -> None:
    scores = _scores(_table(5))
    mixed = pl.concat([scores, scores.with_columns(run=pl.lit("other"))])
    with pytest.raises(EvaluationFailed, match="rows of one benchmark"):
        paired_difference(mixed, scores)
    with pytest.raises(EvaluationFailed, match="one benchmark and metric"):
        paired_difference(scores, scores.with_columns(benchmark=pl.lit("MKQA")))
    with pytest.raises(EvaluationFailed, match="no item that both"):
        paired_difference(scores, scores.with_columns(item_id=pl.col("item_id") + "!"))
