"""Differences of two runs on the same items: the mean, its interval, its p value, and what could have been shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.statistics.intervals import DEFAULTS, Bounds, Interval, Settings, difference_intervals
from cc_tuning.evaluation.statistics.seeds import Spread, joint_margin, joint_p
from cc_tuning.evaluation.statistics.significance import POWER, difference_p
from cc_tuning.evaluation.statistics.units import Cells, Floats, average_sample, sorted_cells

PERCENT: Bounds = (0.0, 100.0)


@dataclass(frozen=True)
class Difference(Interval):
    """Run A minus run B on the items both have, averaged over languages; `low > 0` favours the larger score."""

    p: float
    """Two-sided."""
    spreads: tuple[Spread, ...]
    """Over items, and then over the seeds of both sides where there are several."""
    items: int
    """(language, item) cells compared."""
    languages: int
    units: int
    """Independent units behind them."""
    unmatched: int
    """Cells that only one of the two has; they are left out."""

    def smallest_showable(self, confidence: float) -> float:
        """The smallest true difference that would have been told from none four times out of five.

        (t_{1−α/2} + t_{0.8}) · error   (Bloom 1995), or the sum of the joint margins with these quantiles.
        """
        return joint_margin(self.spreads, confidence) + joint_margin(self.spreads, 2 * POWER - 1)

    def over_seeds(self, spreads: Sequence[Spread], confidence: float, largest: float = math.inf) -> "Difference":
        """The same difference counting other seeds too; `spreads` are those of `seed_spreads`.

        Each side of the interval is widened to √(margin_items² + margin_seeds²); the p value is the larger of that of
        the items and that of both.
        """
        if not spreads:
            return self
        wider = joint_margin(spreads, confidence)
        low = self.value - math.hypot(self.value - self.low, wider)
        high = self.value + math.hypot(self.high - self.value, wider)
        together = (*self.spreads, *spreads)
        p = max(self.p, joint_p(self.value, together))
        return replace(self, low=max(low, -largest), high=min(high, largest), p=p, spreads=together)


def paired_difference(
    item_scores_a: pl.DataFrame,
    item_scores_b: pl.DataFrame,
    *,
    bounds: Bounds | None = PERCENT,
    settings: Settings = DEFAULTS,
) -> Difference:
    """How much higher A scores than B on the same items, averaged over languages, in the metric's unit.

    Both are ItemScore rows of one benchmark, metric, run and connection; they are joined on language and item. `bounds`
    are those of the metric, None where it has none.

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
    both = a.join(b.select(*key, theirs="value"), on=key, how="inner", validate="1:1")
    if not both.height:
        raise EvaluationFailed(
            f"a paired difference found no item that both runs answered, of {a.height} and {b.height}; evaluate both "
            "on the same items"
        )
    rows, cells = sorted_cells(both)
    ours, theirs = (rows.select(name).to_numpy().astype(np.float64) for name in ("value", "theirs"))
    (difference,) = differences_of(ours, theirs, cells, bounds=bounds, settings=settings)
    assert difference is not None
    return replace(difference, unmatched=a.height + b.height - 2 * both.height)


def differences_of(
    ours: Floats, theirs: Floats, cells: Cells, *, bounds: Bounds | None, settings: Settings
) -> Sequence[Difference | None]:
    """The paired difference of each of M columns; `ours` and `theirs [N, M]`, not a number where nothing was measured.

    None for a pair of columns without a row that both have.
    """
    sample = average_sample(ours - theirs, cells)
    largest = _largest(ours, theirs, bounds)
    binary = _are_right_or_wrong(ours, theirs, bounds)
    units = sample.units
    usable = units > 0
    if not usable.all():  # columns without a pair have no mean, and would stop the arithmetic of the others
        found = iter(differences_of(ours[:, usable], theirs[:, usable], cells, bounds=bounds, settings=settings))
        return [next(found) if can else None for can in usable]
    low, high, errors = difference_intervals(sample, largest, settings, is_bounded=bounds is not None)
    unmatched = (np.isnan(ours) != np.isnan(theirs)).sum(axis=0)
    return [
        Difference(
            value=float(sample.value[at]), low=float(low[at]), high=float(high[at]),
            p=difference_p(
                sample.parts[:, at], float(sample.error[at]), max(int(units[at]) - 1, 1), is_right_or_wrong=binary[at]
            ),
            spreads=(Spread(float(errors[at]), max(int(units[at]) - 1, 1)),), items=int(sample.cells[at]),
            languages=int(sample.languages[at]),
            units=int(units[at]), unmatched=int(unmatched[at]),
        )
        for at in range(ours.shape[1])
    ]  # fmt: skip


def _largest(ours: Floats, theirs: Floats, bounds: Bounds | None) -> Floats:
    """`[M]`: the largest difference that a unit can have; of scores without bounds, the largest score that was seen."""
    if bounds is not None:
        return np.full(ours.shape[1], bounds[1] - bounds[0])
    return np.maximum(*(np.nan_to_num(np.abs(values)).max(axis=0, initial=0.0) for values in (ours, theirs)))


def _are_right_or_wrong(ours: Floats, theirs: Floats, bounds: Bounds | None) -> Sequence[bool]:
    if bounds is None:
        return [False] * ours.shape[1]
    are = [np.isnan(values) | np.isin(values, bounds) for values in (ours, theirs)]
    return [bool(are[0][:, at].all() and are[1][:, at].all()) for at in range(ours.shape[1])]


def _one_measurement(scores: pl.DataFrame) -> pl.DataFrame:
    columns = ["benchmark", "metric", "run", "connection"]
    measured = scores.select(pl.col(columns).cast(pl.String)).unique().to_dicts()
    if len(measured) != 1:
        raise EvaluationFailed(
            f"a paired difference needs rows of one benchmark, metric, run and connection, got {measured[:4]}; "
            "filter the item scores first"
        )
    return scores
