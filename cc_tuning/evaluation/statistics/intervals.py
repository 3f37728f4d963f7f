"""Intervals of means: the bootstrap, and what takes its place where it would collapse.

Resampling ten wrong answers gives ten wrong answers, and so an interval from 0 to 0, which is false. Where fewer than
`FEW` units differ from the others the bootstrap is nearly as blind, and a method for rare events is used.
"""

from dataclasses import dataclass

import numpy as np

from cc_tuning.evaluation.statistics.bootstrap import CONFIDENCE, SAMPLES, percentile_intervals, studentised_intervals
from cc_tuning.evaluation.statistics.distributions import normal_quantile, student_quantile
from cc_tuning.evaluation.statistics.units import Floats, Sample

FEW = 20
"""A bootstrap needs so many units that differ; with 10, its 95 % intervals held the truth in 91 to 93 %."""
Bounds = tuple[float, float]
_TINY = 1e-9


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Settings:
    """How intervals are made."""

    samples: int = SAMPLES
    confidence: float = CONFIDENCE
    seed: int = 0


DEFAULTS = Settings()


def mean_intervals(sample: Sample, bounds: Bounds | None, settings: Settings) -> tuple[Floats, Floats]:
    """Lowest and highest value `[M]` of the interval of each mean; `bounds` are those of a score, None for none.

    The bootstrap where at least `FEW` units are off either bound; otherwise Wilson's interval. Scores without bounds
    have at least Student's interval where there are few units.
    """
    low, high = _bootstrap(sample, settings, is_bounded=bounds is not None)
    error = sample.error
    if bounds is None:
        few = (sample.units < FEW) | (error <= _TINY)
        instead = _at_least_student(sample, (low, high), settings.confidence)
    else:
        few = (_off_bounds(sample, bounds) < FEW) | (error <= _TINY)
        instead = wilson_intervals(sample, bounds, settings.confidence)
    low, high = np.where(few, instead[0], low), np.where(few, instead[1], high)
    return (low, high) if bounds is None else (np.clip(low, *bounds), np.clip(high, *bounds))


def difference_intervals(
    sample: Sample, largest: Floats, settings: Settings, *, is_bounded: bool
) -> tuple[Floats, Floats, Floats]:
    """Lowest and highest value `[M]` of the interval of each mean difference, and its standard error `[M]`.

    `largest [M]` is the largest difference that a unit can have. The bootstrap where at least `FEW` units differ;
    otherwise the adjusted interval of Bonett and Price for bounded scores and for those that are mostly equal, and at
    least Student's interval for others.
    """
    low, high = _bootstrap(sample, settings, is_bounded=is_bounded)
    error, differing = sample.error, units_that_differ(sample)
    few = (differing < FEW) | (error <= _TINY)
    is_rare = few & (is_bounded | (differing * 2 <= sample.units) | (error <= _TINY))
    adjusted = adjusted_intervals(sample, largest, settings.confidence)
    student = _at_least_student(sample, (low, high), settings.confidence)
    low = np.where(is_rare, adjusted[0], np.where(few, student[0], low))
    high = np.where(is_rare, adjusted[1], np.where(few, student[1], high))
    error = np.where(is_rare, np.maximum(adjusted_errors(sample, largest), error), error)
    return np.maximum(low, -largest), np.minimum(high, largest), error


def units_that_differ(sample: Sample) -> Floats:
    """`[M]`: units with a difference other than 0."""
    return (np.abs(sample.parts) > _TINY * sample.shares).sum(axis=0)


def wilson_intervals(sample: Sample, bounds: Bounds, confidence: float) -> tuple[Floats, Floats]:
    """Wilson's score interval of a mean between two bounds, for units of any size.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)   (Wilson 1927), p the mean's place between the bounds, n the
    number of independent items that would tell as much; where units are of several items that number is estimated,
    and taken times (z/t)² for it (Korn and Graubard 1998). A mean of values between the bounds varies at most as one of
    zeros and ones does, so scores that are not right or wrong get an interval that is rather too wide.
    """
    least, most = bounds
    p = np.clip((sample.value - least) / (most - least), 0.0, 1.0)
    z = normal_quantile(confidence)
    uncertainty = np.where(sample.cells > sample.units, (z / _quantiles(sample, confidence)) ** 2, 1.0)
    n = np.maximum(sample.equal_items * uncertainty, 1.0)
    middle = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return least + (most - least) * (middle - half) / scale, least + (most - least) * (middle + half) / scale


def adjusted_intervals(sample: Sample, largest: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The interval of a paired difference with one item added that speaks for each side.

    θ~ ± z √(v~/(n + 2)),   θ~ = Σ d / (n + 2),   v~ = (Σ d² + 2 D²)/(n + 2) − θ~²,   for n independent items with
    differences d, and D the largest that there can be. With right or wrong answers to single items it is the interval
    of Bonett and Price (2012), whose v~ is p12 + p21 − (p12 − p21)² with one added to either count.
    """
    n = sample.equal_items
    middle = sample.value * n / (n + 2)
    half = normal_quantile(confidence) * adjusted_errors(sample, largest)
    return np.minimum(middle - half, sample.value), np.maximum(middle + half, sample.value)


def adjusted_errors(sample: Sample, largest: Floats) -> Floats:
    """`[M]`: the standard errors √(v~/(n + 2)) of `adjusted_intervals`."""
    n = sample.equal_items
    variance = (n * sample.squares + 2 * largest**2) / (n + 2) - (sample.value * n / (n + 2)) ** 2
    return np.sqrt(np.maximum(variance, 0.0) / (n + 2))


def _bootstrap(sample: Sample, settings: Settings, *, is_bounded: bool) -> tuple[Floats, Floats]:
    """Percentiles for bounded scores, whose spread may vanish in a resample; the bootstrap-t for others."""
    return (percentile_intervals if is_bounded else studentised_intervals)(sample, **vars(settings))


def _at_least_student(sample: Sample, drawn: tuple[Floats, Floats], confidence: float) -> tuple[Floats, Floats]:
    """The bootstrap's interval with the mean ± t error: with few units each of the two may be too narrow.

    A single value, or equal ones, say nothing of their spread, which is then taken to be as large as themselves.
    """
    has_spread = sample.error > _TINY
    alone = np.abs(sample.value) / np.sqrt(np.maximum(sample.units, 1))
    margin = _quantiles(sample, confidence) * np.where(has_spread, sample.error, alone)
    low, high = sample.value - margin, sample.value + margin
    return np.where(has_spread, np.minimum(low, drawn[0]), low), np.where(has_spread, np.maximum(high, drawn[1]), high)


def _quantiles(sample: Sample, confidence: float) -> Floats:
    """`[M]`: those of Student's t with one degree of freedom less than there are units."""
    return np.array([student_quantile(confidence, max(int(units) - 1, 1)) for units in sample.units])


def _off_bounds(sample: Sample, bounds: Bounds) -> Floats:
    """`[M]`: units off the bound that most units are at."""
    values = sample.unit_values
    return np.minimum((values > bounds[0] + _TINY).sum(axis=0), (values < bounds[1] - _TINY).sum(axis=0))
