"""When a difference is called one, for tables of comparisons and for two reports alike."""

from collections.abc import Sequence
from dataclasses import replace

from cc_tuning.evaluation.statistics.intervals import Interval
from cc_tuning.evaluation.statistics.significance import holm
from cc_tuning.report.scores import Comparison, Measure, Verdict, sign


def verdict_of(measure: Measure, interval: Interval, p: float, confidence: float) -> Verdict:
    """`better` or `worse` where `p` is at most 1 − `confidence` and the interval lies on one side of 0.

    Both count other items and, where there are several, other seeds, so a difference is called one only when it
    survives both. The direction is that of the metric.
    """
    side = sign(interval.low) if sign(interval.low) == sign(interval.high) else 0
    if not side or p > 1 - confidence:
        return "undecided"
    return "better" if (side > 0) == measure.is_higher_better else "worse"


def adjusted_for_all(comparisons: Sequence[Comparison], confidence: float) -> tuple[Comparison, ...]:
    """The comparisons of one table, judged by p values that are adjusted for all of them (Holm 1979)."""
    adjusted = holm([comparison.p for comparison in comparisons])
    return tuple(
        replace(
            comparison,
            p_holm=p,
            verdict=verdict_of(
                comparison.measure, Interval(comparison.value, comparison.low, comparison.high), p, confidence
            ),
        )
        for comparison, p in zip(comparisons, adjusted, strict=True)
    )
