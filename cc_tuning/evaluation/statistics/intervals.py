"""Intervals of means: the bootstrap, and what takes its place where it would collapse.

Resampling ten wrong answers gives ten wrong answers, and so an interval from 0 to 0, which is false. Where fewer than
`FEW` units differ from the others the bootstrap is nearly as blind, and a method for rare events is used.
"""

from dataclasses import dataclass

import numpy as np

from cc_tuning.evaluation.statistics.bootstrap import CONFIDENCE, SAMPLES, percentile_intervals
from cc_tuning.evaluation.statistics.distributions import normal_quantile, student_quantile
from cc_tuning.evaluation.statistics.units import Floats, Sample

FEW = 10
"""A bootstrap needs so many units that differ; with 10 of 1,000 its intervals held the truth as often as they say."""
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

    The bootstrap where at least `FEW` units are off either bound; otherwise Wilson's interval for bounded scores, and
    Student's t for others.
    """
    low, high = percentile_intervals(sample, **vars(settings))
    error = sample.error
    if bounds is None:
        few = (sample.units < FEW) | (error <= _TINY)
        instead = _student(sample, error, settings.confidence)
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
    otherwise the adjusted interval of Bonett and Price for bounded scores and for those that are mostly equal, and
    Student's t for others.
    """
    low, high = percentile_intervals(sample, **vars(settings))
    error, differing = sample.error, units_that_differ(sample)
    few = (differing < FEW) | (error <= _TINY)
    is_rare = few & (is_bounded | (differing * 2 <= sample.units) | (error <= _TINY))
    adjusted = adjusted_intervals(sample, largest, settings.confidence)
    student = _student(sample, error, settings.confidence)
    low = np.where(is_rare, adjusted[0], np.where(few, student[0], low))
    high = np.where(is_rare, adjusted[1], np.where(few, student[1], high))
    error = np.where(is_rare, np.maximum(adjusted_errors(sample, largest), error), error)
    return np.maximum(low, -largest), np.minimum(high, largest), error


def units_that_differ(sample: Sample) -> Floats:
    """`[M]`: units with a difference other than 0."""
    return (np.abs(sample.parts) > _TINY * sample.shares).sum(axis=0)


def wilson_intervals(sample: Sample, bounds: Bounds, confidence: float) -> tuple[Floats, Floats]:
    """Wilson's score interval of a mean between two bounds, for units of any size.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)   (Wilson 1927), p the mean's place between the bounds, and n
    the effective number of items p(1 − p)/error² (Korn and Graubard 1998), between the number of equal units and the
    number of items. A mean of values between the bounds varies at most as one of zeros and ones does, so scores that
    are not right or wrong get an interval that is rather too wide.
    """
    least, most = bounds
    p = np.clip((sample.value - least) / (most - least), 0.0, 1.0)
    error = sample.error / (most - least)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(error > _TINY, p * (1 - p) / error**2, 0.0)
    n = np.clip(effective, sample.equal_units, np.maximum(sample.cells, sample.equal_units))
    z = normal_quantile(confidence)
    middle = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return least + (most - least) * (middle - half) / scale, least + (most - least) * (middle + half) / scale


def adjusted_intervals(sample: Sample, largest: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The interval of a paired difference with one unit added that speaks for each side.

    θ~ ± z √(v~/(n + 2)),   θ~ = Σ d / (n + 2),   v~ = (Σ d² + 2 D²)/(n + 2) − θ~²,   for n equal units with
    differences d, and D the largest that there can be. With right or wrong answers to single items it is the interval
    of Bonett and Price (2012), whose v~ is p12 + p21 − (p12 − p21)² with one added to either count.
    """
    n = sample.equal_units
    middle = sample.value * n / (n + 2)
    half = normal_quantile(confidence) * adjusted_errors(sample, largest)
    return np.minimum(middle - half, sample.value), np.maximum(middle + half, sample.value)


def adjusted_errors(sample: Sample, largest: Floats) -> Floats:
    """`[M]`: the standard errors √(v~/(n + 2)) of `adjusted_intervals`."""
    n = sample.equal_units
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(sample.shares > 0, np.square(sample.parts) / sample.shares, 0.0).sum(axis=0)
    variance = (n * squares + 2 * largest**2) / (n + 2) - (sample.value * n / (n + 2)) ** 2
    return np.sqrt(np.maximum(variance, 0.0) / (n + 2))


def _student(sample: Sample, error: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Mean ± t error; a single value says nothing of its spread, which is then taken to be as large as itself."""
    units = np.maximum(sample.units, 1)
    quantiles = np.array([student_quantile(confidence, max(int(count) - 1, 1)) for count in units])
    spread = np.where(error > _TINY, error, np.abs(sample.value) / np.sqrt(units))
    return sample.value - quantiles * spread, sample.value + quantiles * spread


def _off_bounds(sample: Sample, bounds: Bounds) -> Floats:
    """`[M]`: units off the bound that most units are at."""
    values = sample.unit_values
    return np.minimum((values > bounds[0] + _TINY).sum(axis=0), (values < bounds[1] - _TINY).sum(axis=0))
