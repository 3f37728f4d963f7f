"""What a kind of connection is worth: its gain over another kind, and the share of one gain in another.

A gain is a paired comparison of one checkpoint with itself, in the metric's unit, and positive where it helps,
whichever way the metric runs:

    gain(a, b) = s · mean over languages of mean over items of (y_a − y_b),    s = −1 where lower is better, else 1

The share `gain(part, base) / gain(whole, base)` is a ratio of two means over the same items, whose interval is
Fieller's: all r for which `gain(part, base) − r · gain(whole, base)` may be zero (E. C. Fieller 1954, *Some problems in
interval estimation*, J. R. Stat. Soc. B 16(2)). It is bounded only where the whole gain itself is clear of zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl

from cc_tuning.evaluation.statistics.tables import score_table
from cc_tuning.evaluation.statistics.units import Floats, average_sample
from cc_tuning.report.config import Family
from cc_tuning.report.scores import Comparison, Measure, Verdict

_COLUMN = ("run", "connection")


@dataclass(frozen=True)
class Gain:
    """A gain with its interval; positive helps."""

    value: float
    low: float
    high: float
    items: int
    """(language, item) cells compared."""
    verdict: Verdict
    """Whether the interval excludes zero and the p value survives the adjustment for what was compared with it."""


@dataclass(frozen=True)
class Share:
    """How much of one gain another one reaches; 1 is all of it."""

    value: float
    low: float
    high: float


def gain_of(comparison: Comparison) -> Gain:
    """A comparison in the direction that helps."""
    low, high = comparison.low, comparison.high
    if comparison.measure.is_higher_better:
        return Gain(comparison.value, low, high, comparison.items, comparison.verdict)
    return Gain(-comparison.value, -high, -low, comparison.items, comparison.verdict)


def share_of(
    item_scores: pl.DataFrame, family: Family, measure: Measure, connections: Sequence[str], confidence: float
) -> Share | None:
    """`gain(part, base) / gain(whole, base)` for the `connections` (part, whole, base).

    Over the items that all runs of the family have under all three; the interval counts other items and no other seeds.

    Args:
        item_scores: ItemScore rows of all runs.

    Returns:
        None without such items, or where the whole gain may be zero: then there is nothing to have a share of.
    """
    runs = [run.name for run in family.runs]
    rows = item_scores.filter(
        pl.col("run").is_in(runs),
        pl.col("connection").is_in(connections),
        pl.col("benchmark") == measure.benchmark,
        pl.col("metric") == measure.metric,
    )
    if rows.is_empty():
        return None
    table = score_table(rows, _COLUMN)
    part, whole, base = (np.mean([table.column((run, at)) for run in runs], axis=0) for at in connections)
    gains = np.stack([part - base, whole - base], axis=1)
    gains[np.isnan(gains).any(axis=1)] = np.nan
    sample = average_sample(gains, table.cells)
    units = int(sample.units[0])
    if units < 2:
        return None
    # as the standard error of a mean over units: G/(G − 1) Σ deviation²
    covariance = units / (units - 1) * sample.deviations.T @ sample.deviations
    return fieller(float(sample.value[0]), float(sample.value[1]), covariance, confidence)


def fieller(part: float, whole: float, covariance: Floats, confidence: float) -> Share | None:
    """The ratio `part / whole` of two means with its interval; None where it would have no end.

    `covariance [2, 2]` is that of the two means. The ends are the roots r of
    `(part − r·whole)² = z² (v_pp − 2 r v_pw + r² v_ww)`.
    """
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    (v_pp, v_pw), (_, v_ww) = covariance
    square, half, constant = whole**2 - z2 * v_ww, part * whole - z2 * v_pw, part**2 - z2 * v_pp
    if not square > 0:
        return None
    # negative by rounding only, since the covariance is positive semidefinite
    spread = math.sqrt(max(half**2 - square * constant, 0.0))
    return Share(part / whole, float(half - spread) / square, float(half + spread) / square)
