"""The bootstrap: units drawn with replacement, as many as there are, seeded.

The draws depend on the number of units and the seed alone. So all measurements of a benchmark are drawn alike, in one
product of matrices, and the drawing itself is done once.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cc_tuning.evaluation.statistics.distributions import NORMAL, student_quantile
from cc_tuning.evaluation.statistics.units import Floats, Sample

SAMPLES = 10_000
CONFIDENCE = 0.95
_DRAWS_AT_ONCE = 4_000_000
_CHUNKS_KEPT = 32
"""At one byte a draw, chunks of `_DRAWS_AT_ONCE` take 128 MB."""
_FAR = 1e6
_MEASUREMENTS_AT_ONCE = 256
"""Bounds the memory of replicates: 10,000 of 256 measurements take 10 MB."""


def percentile_intervals(
    sample: Sample, *, samples: int = SAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[Floats, Floats]:
    """Lowest and highest value `[M]` of each mean's interval.

    Percentiles of the means of the resamples, at the level α' = Φ(−√(G/(G − 1)) t) with t the quantile of Student's
    t with G − 1 degrees of freedom: the plain percentile interval is too narrow for few units, by the bias of its
    variance and for taking it as known (Hesterberg 2015, "expanded percentile").
    """
    low, high = np.empty_like(sample.value), np.empty_like(sample.value)
    for first in range(0, len(sample.value), _MEASUREMENTS_AT_ONCE):
        columns = slice(first, first + _MEASUREMENTS_AT_ONCE)
        moves = resampled(sample.deviations[:, columns], samples=samples, seed=seed)
        moves.sort(axis=0)
        for column, units in enumerate(sample.units[columns]):
            tail = _expanded_tail(confidence, max(int(units), 2))
            low[first + column] = _quantile(moves[:, column], tail)
            high[first + column] = _quantile(moves[:, column], 1 - tail)
    return sample.value + low, sample.value + high


def studentised_intervals(
    sample: Sample, *, samples: int = SAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[Floats, Floats]:
    """Lowest and highest value `[M]` of each mean's interval, for scores without bounds, which may be skewed.

    [m − q_{1−α/2} e, m − q_{α/2} e], with q the quantiles of (m* − m)/e* over the resamples: the bootstrap-t, which
    follows the skewness of a mean where percentiles do not (Efron and Tibshirani 1993, section 12.5).
    """
    low, high = np.empty_like(sample.value), np.empty_like(sample.value)
    error, tail = sample.error, (1 - confidence) / 2
    for first in range(0, len(sample.value), _MEASUREMENTS_AT_ONCE):
        columns = slice(first, first + _MEASUREMENTS_AT_ONCE)
        deviations, units = sample.deviations[:, columns], np.maximum(sample.units[columns], 2)
        moves = resampled(deviations, samples=samples, seed=seed)
        squares = resampled(np.square(deviations), samples=samples, seed=seed)
        variances = np.maximum(squares - np.square(moves) / units, 0.0) * (units / (units - 1))
        # A resample of one unit only has no spread: it lies infinitely far out, on the side of its mean.
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.nan_to_num(moves / np.sqrt(variances), nan=0.0, posinf=_FAR, neginf=-_FAR)
        ratios.sort(axis=0)
        for column in range(ratios.shape[1]):
            at = first + column
            low[at] = sample.value[at] - _quantile(ratios[:, column], 1 - tail) * error[at]
            high[at] = sample.value[at] - _quantile(ratios[:, column], tail) * error[at]
    return low, high


def resampled(deviations: Floats, *, samples: int = SAMPLES, seed: int = 0) -> NDArray[np.float32]:
    """`[samples, M]`: how far the mean of each resample lies from that of the items."""
    units = len(deviations)
    narrow = deviations.astype(np.float32)
    rows = max(1, _DRAWS_AT_ONCE // units)
    chunks = [
        _times_drawn(units, min(rows, samples - first), seed, first).astype(np.float32) @ narrow
        for first in range(0, samples, rows)
    ]
    return np.concatenate(chunks)


@lru_cache(maxsize=_CHUNKS_KEPT)
def _times_drawn(units: int, rows: int, seed: int, first: int) -> NDArray[np.uint8]:
    """`[rows, units]`: how often each unit is in each resample."""
    generator = np.random.default_rng([seed, first])
    draws = generator.integers(units, size=(rows, units), dtype=np.int64)
    draws += np.arange(rows)[:, None] * units
    # No count is above 255: with more units than that, one would be drawn 256 times where once is expected.
    return np.bincount(draws.ravel(), minlength=rows * units).reshape(rows, units).astype(np.uint8)


@lru_cache(maxsize=4096)
def _expanded_tail(confidence: float, units: int) -> float:
    return NORMAL.cdf(-np.sqrt(units / (units - 1)) * student_quantile(confidence, units - 1))


def _quantile(ordered: NDArray[np.float32], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low]) + (place - low) * (float(ordered[high]) - float(ordered[low]))
