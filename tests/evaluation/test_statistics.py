"""What is resampled, how means are made of it, and the bootstrap against a slow loop."""

from collections import defaultdict
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.scoring import aggregate_scores
from cc_tuning.evaluation.statistics.bootstrap import percentile_intervals, resampled, studentised_intervals
from cc_tuning.evaluation.statistics.differences import paired_difference
from cc_tuning.evaluation.statistics.intervals import Settings
from cc_tuning.evaluation.statistics.tables import score_table
from cc_tuning.evaluation.statistics.units import Sample, average_sample, language_sample, sorted_cells
from tests.reference.slow_bootstrap import slow_average, slow_interval

T_90 = {39: 1.68488, 89: 1.66216, 24: 1.71088}
"""Two-sided 90 % quantiles of Student's t, from a printed table."""


def scores_of(values: np.ndarray, items_per_cluster: int = 1, **constants: str) -> pl.DataFrame:
    """Rows of a table `[items, languages]`; NaN where an item is not in a language."""
    rows = [
        {"language": language, "item_id": f"x-{item:04d}", "value": float(values[item, column]),
         "cluster": f"p-{item // items_per_cluster:04d}" if items_per_cluster > 1 else None}
        for item in range(len(values))
        for column, language in enumerate("abc")
        if not np.isnan(values[item, column])
    ]  # fmt: skip
    same = {"run": "a", "connection": "off", "benchmark": "XNLI", "metric": "accuracy", **constants}
    return pl.DataFrame(rows, schema_overrides={"cluster": pl.String}).with_columns(
        pl.lit(None, dtype=pl.String).alias("group"), **{name: pl.lit(value) for name, value in same.items()}
    )


def sample_of(scores: pl.DataFrame) -> Sample:
    rows, cells = sorted_cells(scores)
    return average_sample(rows.select("value").to_numpy(), cells)


def units_of(scores: pl.DataFrame) -> dict[str, list[tuple[str, float]]]:
    units = defaultdict(list)
    for row in scores.iter_rows(named=True):
        units[row["cluster"] or row["item_id"]].append((row["language"], row["value"]))
    return dict(units)


def correlated(items: int, seed: int = 0) -> np.ndarray:
    """Scores 0 or 100 that depend on the item as well as on the language."""
    draw = np.random.default_rng(seed)
    hardness = draw.random((items, 1))
    return 100.0 * (draw.random((items, 3)) * 0.5 + hardness * 0.5 > np.array([0.3, 0.5, 0.6]))


def not_parallel(items: int) -> np.ndarray:
    values = np.full((3 * items, 3), np.nan)
    for column in range(3):
        values[column * items : (column + 1) * items, column] = correlated(items, column)[:, column]
    return values


def with_gaps(items: int) -> np.ndarray:
    values = correlated(items)
    values[::4, 1] = np.nan
    values[1::7, 2] = np.nan
    return values


CASES = {
    "parallel": scores_of(correlated(40)),
    "not parallel": scores_of(not_parallel(30)),
    "clusters of 3": scores_of(correlated(75), items_per_cluster=3),
    "clusters with gaps": scores_of(with_gaps(75), items_per_cluster=3),
}


@pytest.mark.parametrize("case", CASES)
def test_percentiles_equal_those_of_the_slow_bootstrap(case: str) -> None:
    scores = CASES[case]
    units = units_of(scores)
    count = len(units)
    tail = NormalDist().cdf(-T_90[count - 1] * np.sqrt(count / (count - 1)))
    value, low, high = slow_interval(units, samples=3000, tail=tail, seed=1)
    sample = sample_of(scores)
    lows, highs = percentile_intervals(sample, samples=20_000, confidence=0.9, seed=2)
    assert sample.value[0] == pytest.approx(value)
    margin = 0.06 * (high - low)  # both are Monte Carlo, and means are multiples of a step
    assert lows[0] == pytest.approx(low, abs=margin)
    assert highs[0] == pytest.approx(high, abs=margin)


@pytest.mark.parametrize("case", CASES)
def test_sample_is_a_sum_over_units(case: str) -> None:
    scores = CASES[case]
    sample = sample_of(scores)
    units = units_of(scores)
    assert sample.units[0] == len(units)
    assert sample.shares.sum() == pytest.approx(1)
    assert sample.parts.sum() == pytest.approx(sample.value[0])
    assert sample.deviations.sum() == pytest.approx(0, abs=1e-12)
    assert sample.cells[0] == scores.height
    # A deviation is the slope of the mean in how often a unit is drawn: compared with a small step.
    for place, name in list(enumerate(sorted(units)))[:5]:
        step = 1000
        often = [item for unit in units for item in units[unit] * (step + (unit == name))]
        moved = slow_average(often) - sample.value[0]
        assert moved * step == pytest.approx(sample.deviations[place, 0], rel=0.01, abs=1e-6)


def test_error_equals_that_of_independent_items_and_grows_with_clusters() -> None:
    values = correlated(90)[:, :1]
    alone = sample_of(scores_of(np.concatenate([values, np.full((90, 2), np.nan)], axis=1)))
    assert alone.error[0] == pytest.approx(values.std(ddof=1) / np.sqrt(90))
    repeated = sample_of(scores_of(np.repeat(values, 3, axis=1)))
    assert repeated.error[0] == pytest.approx(alone.error[0])  # languages that agree tell nothing more
    clustered = sample_of(scores_of(np.repeat(values, 3, axis=0) * np.ones((1, 3)), items_per_cluster=3))
    assert clustered.error[0] == pytest.approx(alone.error[0])
    assert clustered.equal_items[0] == pytest.approx(90, rel=0.02)


def test_cluster_joins_items_and_languages_wherever_their_rows_stand() -> None:
    scores = scores_of(correlated(60), items_per_cluster=4)
    shuffled = scores.sample(fraction=1, shuffle=True, seed=3)
    both = [percentile_intervals(sample_of(of), samples=500) for of in (scores, shuffled)]
    assert both[0] == both[1]
    assert sample_of(shuffled).units[0] == 15


def test_seed_decides_the_draws_and_the_number_of_measurements_does_not() -> None:
    sample = sample_of(CASES["parallel"])
    once = resampled(sample.deviations, samples=300, seed=1)
    many = resampled(np.repeat(sample.deviations, 5, axis=1), samples=300, seed=1)
    assert many == pytest.approx(np.repeat(once, 5, axis=1), abs=1e-4)
    assert not np.allclose(once, resampled(sample.deviations, samples=300, seed=2))


def test_resamples_that_need_several_chunks_are_all_made() -> None:
    sample = sample_of(CASES["parallel"])
    moves = resampled(sample.deviations, samples=100_001)  # 4,000,040 draws: one chunk holds 4,000,000
    assert moves.shape == (100_001, 1)
    assert moves.std() == pytest.approx(sample.error[0] * np.sqrt(39 / 40), rel=0.02)


def test_interval_of_many_items_has_the_width_of_the_normal_approximation() -> None:
    values = np.full((1000, 3), np.nan)
    values[:, 0] = 100.0 * (np.arange(1000) % 2)
    half = 1.96 * 50 / np.sqrt(1000)
    for make in (percentile_intervals, studentised_intervals):
        low, high = make(sample_of(scores_of(values)), samples=20_000)
        assert low[0] == pytest.approx(50 - half, abs=0.25)
        assert high[0] == pytest.approx(50 + half, abs=0.25)


def test_studentised_interval_leans_to_the_long_tail() -> None:
    """A sample of a skewed quantity has most likely missed its rare large values."""
    values = np.full((60, 3), np.nan)
    values[:, 0] = np.random.default_rng(4).exponential(size=60)
    low, high = studentised_intervals(sample_of(scores_of(values)), samples=4000)
    mean = np.nanmean(values)
    assert high[0] - mean > 1.15 * (mean - low[0])


def test_average_counts_every_language_once_and_leaves_out_those_without_items() -> None:
    values = with_gaps(40)
    rows, cells = sorted_cells(scores_of(values))
    two = rows.with_columns(pl.when(pl.col("language") == "c").then(float("nan")).otherwise("value").alias("two"))
    sample = average_sample(two.select("value", "two").to_numpy(), cells)
    assert sample.value == pytest.approx(
        [np.nanmean(np.nanmean(values, axis=0)), np.nanmean(values[:, :2], axis=0).mean()]
    )
    assert sample.languages.tolist() == [3, 2]
    of_b = language_sample(two.select("value").to_numpy(), cells, 1)
    assert (of_b.value[0], of_b.cells[0]) == (pytest.approx(np.nanmean(values[:, 1])), 30)


def test_paired_difference_is_narrower_than_the_runs_apart() -> None:
    values = correlated(300)
    better = values.copy()
    better[:30, 0] = 100
    a, b = scores_of(better, run="a"), scores_of(values, run="b")
    difference = paired_difference(a, b, settings=Settings(samples=2000))
    low, high = percentile_intervals(sample_of(a), samples=2000)
    assert difference.value == pytest.approx((better - values).mean())
    assert difference.high - difference.low < (high[0] - low[0]) / 2
    assert (difference.items, difference.units, difference.unmatched) == (900, 300, 0)
    swapped = paired_difference(b, a, settings=Settings(samples=2000))
    assert swapped.value == pytest.approx(-difference.value)
    assert swapped.p == pytest.approx(difference.p)


def test_paired_difference_joins_on_ids_and_counts_what_has_no_partner() -> None:
    values = correlated(20)
    a = scores_of(values).sample(fraction=1, shuffle=True, seed=1)
    b = scores_of(values).filter(pl.col("item_id") != "x-0003")
    difference = paired_difference(a, b, settings=Settings(samples=100))
    assert (difference.value, difference.p) == (0, 1)
    assert (difference.items, difference.unmatched) == (57, 3)


def test_paired_difference_refuses_what_cannot_be_compared() -> None:
    scores = scores_of(correlated(5))
    mixed = pl.concat([scores, scores.with_columns(run=pl.lit("other"))])
    with pytest.raises(EvaluationFailed, match="rows of one benchmark"):
        paired_difference(mixed, scores)
    with pytest.raises(EvaluationFailed, match="one benchmark and metric"):
        paired_difference(scores, scores.with_columns(benchmark=pl.lit("MKQA")))
    with pytest.raises(EvaluationFailed, match="no item that both"):
        paired_difference(scores, scores.with_columns(item_id=pl.col("item_id") + "!"))


def test_table_holds_every_score_once_and_its_parts_keep_their_units() -> None:
    scores = pl.concat([scores_of(with_gaps(24), items_per_cluster=3, run=run) for run in ("b", "a")]).with_columns(
        group=pl.when(pl.col("item_id") < "x-0010").then(pl.lit("first"))
    )
    table = score_table(scores, ["run", "metric"])
    assert list(table.columns) == [("a", "accuracy"), ("b", "accuracy")]
    assert np.isnan(table.column(("c", "accuracy"))).all()
    found = table.rows.with_columns(value=pl.Series(table.column(("a", "accuracy"))))
    expected = scores.filter(pl.col("run") == "a").select(found.columns)
    assert found.sort("language", "item_id").equals(expected.sort("language", "item_id"))
    part = table.part(group="first", language="b")
    assert part.cells.languages == ("b",) and set(part.rows["language"]) == {"b"}
    assert part.rows.height == 7 and part.cells.units == 4  # items 0 to 9 without 0, 4 and 8
    assert table.part(group="none").rows.height == 0


def test_scores_of_any_unit_are_aggregated_without_being_cut() -> None:
    scores = scores_of(with_gaps(40))
    nats = scores.with_columns(metric=pl.lit("gold_nll"), value=pl.col("value") * 3)
    rows = aggregate_scores(pl.concat([scores, nats]), samples=200, confidence=0.95, seed=0)
    found = {(row["metric"], row["language"]): row for row in rows.iter_rows(named=True)}
    assert len(found) == 2 * 4
    for language in ("a", "b", "c"):
        own = scores.filter(pl.col("language") == language)["value"]
        assert found["accuracy", language]["value"] == pytest.approx(own.mean())
        assert found["accuracy", language]["items"] == len(own)
        assert found["accuracy", language]["ci_low"] < own.mean() < found["accuracy", language]["ci_high"]
    assert found["accuracy", "avg"]["items"] == scores.height
    shown = found["gold_nll", "avg"]
    assert shown["value"] == pytest.approx(3 * found["accuracy", "avg"]["value"])
    assert shown["ci_high"] > 100
