"""How sure a score is: percentile bootstrap over items, seeded.

Items are resampled with replacement, all languages of an item together: a parallel item is one draw of the world seen
in several languages, and treating its translations as independent would make averages look surer than they are
(Miller 2024, arXiv 2411.00640). Items that exist in the same set of languages are resampled among themselves, so each
language keeps its number of items; a benchmark that is not parallel is then resampled language by language.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from cc_tuning.errors import EvaluationFailed

Floats = NDArray[np.float64]

SAMPLES = 10_000
CONFIDENCE = 0.95
_DRAWS_AT_ONCE = 4_000_000
"""Bounds the memory of one chunk of resampled indices (32 MB)."""


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """Run A minus run B on the items both have, averaged over languages; `low > 0` favours A."""

    items: int
    """(language, item) cells compared."""
    unmatched: int
    """Cells that only one of the two has; they are left out."""


@dataclass(frozen=True)
class Resampled:
    """Means per language, and what they became in each resample."""

    languages: tuple[str, ...]
    counts: tuple[int, ...]
    means: Floats
    """`[languages]`"""
    replicates: Floats
    """`[samples, languages]`"""

    def interval(self, language: str, confidence: float = CONFIDENCE) -> Interval:
        """The percentile interval of one language."""
        at = self.languages.index(language)
        return _percentiles(float(self.means[at]), self.replicates[:, at], confidence)

    def average(self, confidence: float = CONFIDENCE) -> Interval:
        """The percentile interval of the mean over languages, each weighing the same."""
        return _percentiles(float(self.means.mean()), self.replicates.mean(axis=1), confidence)


def score_interval(
    values: ArrayLike, *, samples: int = SAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """The mean of independent item scores with its interval; `values [N]`, N ≥ 1."""
    scores = np.asarray(values, dtype=np.float64)
    frame = pl.DataFrame({"language": "all", "item_id": np.arange(len(scores)).astype(str), "value": scores})
    return resample(frame, samples=samples, seed=seed).average(confidence)


def paired_difference(
    item_scores_a: pl.DataFrame,
    item_scores_b: pl.DataFrame,
    *,
    samples: int = SAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Difference:
    """How much higher A scores than B on the same items, averaged over languages, in points.

    Both are ItemScore rows of one benchmark, metric, run and connection; they are joined on language and item.

    Raises:
        EvaluationFailed: a frame mixes benchmarks, metrics, runs or connections, the two measure different things, or
            they share no item.
    """
    a, b = _one_measurement(item_scores_a), _one_measurement(item_scores_b)
    if (a["benchmark"][0], a["metric"][0]) != (b["benchmark"][0], b["metric"][0]):
        raise EvaluationFailed(
            f"a paired difference needs one benchmark and metric, got {a['benchmark'][0]} {a['metric'][0]} and "
            f"{b['benchmark'][0]} {b['metric'][0]}; filter both frames alike"
        )
    key = ["language", "item_id"]
    both = a.join(b, on=key, how="inner", suffix="_b", validate="1:1")
    if not both.height:
        raise EvaluationFailed(
            f"a paired difference found no item that both runs answered, of {a.height} and {b.height}; evaluate both "
            "on the same items"
        )
    differences = both.select(*key, value=pl.col("value") - pl.col("value_b"))
    average = resample(differences, samples=samples, seed=seed).average(confidence)
    unmatched = a.height + b.height - 2 * both.height
    return Difference(average.value, average.low, average.high, both.height, unmatched)


def resample(scores: pl.DataFrame, *, samples: int = SAMPLES, seed: int = 0) -> Resampled:
    """Bootstrap means of `scores` (columns language, item_id, value) by language.

    The result depends on the rows and the seed, not on the order of the rows.
    """
    table = scores.pivot("language", index="item_id", values="value").sort("item_id")
    languages = tuple(sorted(set(table.columns) - {"item_id"}))
    values = table.select(languages).to_numpy().astype(np.float64)
    counts = (~np.isnan(values)).sum(axis=0)
    generator = np.random.default_rng(seed)
    sums = sum(_resampled_sums(rows, samples, generator) for rows in _strata(values))
    return Resampled(languages, tuple(map(int, counts)), np.nansum(values, axis=0) / counts, np.asarray(sums) / counts)


def _strata(values: Floats) -> Iterator[Floats]:
    """Groups of items that exist in the same languages; missing cells become 0, which adds nothing to a sum."""
    patterns, group_of_row = np.unique(~np.isnan(values), axis=0, return_inverse=True)
    for group in range(len(patterns)):
        yield np.nan_to_num(values[group_of_row.reshape(-1) == group])


def _resampled_sums(values: Floats, samples: int, generator: np.random.Generator) -> Floats:
    """`[samples, languages]`: sums over items drawn with replacement, as many as there are."""
    items = len(values)
    chunk = max(1, _DRAWS_AT_ONCE // items)
    sums = []
    for first in range(0, samples, chunk):
        rows = min(chunk, samples - first)
        draws = generator.integers(items, size=(rows, items), dtype=np.int64)
        draws += np.arange(rows)[:, None] * items
        times_drawn = np.bincount(draws.ravel(), minlength=rows * items).reshape(rows, items)
        sums.append(times_drawn.astype(np.float64) @ values)
    return np.concatenate(sums)


def _percentiles(value: float, replicates: Floats, confidence: float) -> Interval:
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return Interval(value, float(low), float(high))


def _one_measurement(scores: pl.DataFrame) -> pl.DataFrame:
    columns = ["benchmark", "metric", "run", "connection"]
    measured = scores.select(pl.col(columns).cast(pl.String)).unique().to_dicts()
    if len(measured) != 1:
        raise EvaluationFailed(
            f"a paired difference needs rows of one benchmark, metric, run and connection, got {measured[:4]}; "
            "filter the item scores first"
        )
    return scores
