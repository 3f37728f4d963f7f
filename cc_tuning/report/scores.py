"""The values that tables of scores and comparisons are made of.

Of a family with several seeds, the score of an item is its mean over the seeds that ran. The interval of a score tells
how much it would move with other items; how much it moves with other seeds is told by the values of the seeds, which
stand beside it. A comparison counts both: see `docs/statistics.md`.
"""

from dataclasses import dataclass
from typing import Literal

from cc_tuning.evaluation.benchmark import METRICS

_ROUNDING = 1e-9
"""Means of scores carry rounding of about 1e-14; what is smaller than this is no difference."""

Group = str | None
"""A group of items, or None for all of them."""
Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Variant:
    """A family with one kind of connection: a row of the main table."""

    family: str
    connection: str


@dataclass(frozen=True)
class Measure:
    """A benchmark with one metric: a column of the main table."""

    benchmark: str
    metric: str

    @property
    def is_higher_better(self) -> bool:
        """Whether a larger figure is the better one."""
        return METRICS[self.metric].is_higher_better if self.metric in METRICS else True


@dataclass(frozen=True)
class Estimate:
    """A score with its interval, in the metric's unit; with several seeds, their mean."""

    value: float
    low: float
    high: float
    items: int
    by_seed: tuple[float, ...]
    """The value of each seed."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`minuend` minus `subtrahend` on the items that both answered, averaged over languages, in the metric's unit."""

    minuend: Variant
    subtrahend: Variant
    measure: Measure
    value: float
    low: float
    """The interval counts other items and, where there are several, other seeds."""
    high: float
    p: float
    """Two-sided: how likely a difference of at least this size is where there is none, counting items and seeds."""
    p_items: float
    """The same counting items alone."""
    p_holm: float
    """`p` adjusted for all the benchmarks of its table (Holm 1979); equal to `p` where it was asked for alone."""
    items: int
    """(language, item) cells compared."""
    languages: int
    clusters: int
    """Independent units behind them: what shares a source item, a premise or a passage is one."""
    unmatched: int
    """Cells that only one of the two has; they are left out."""
    confidence: float
    """Of the interval; the verdict asks for a `p_holm` of at most the rest."""
    smallest_showable: float
    """The smallest true difference that these items and seeds would have shown four times out of five."""
    by_seed: tuple[float, ...]
    """Of each seed; seed by seed where both have the same ones, otherwise each against the mean of the other side."""
    verdict: Verdict
    """`better` or `worse`, in the metric's direction, where `p_holm` is small enough and the interval lies on one side
    of 0; `undecided` otherwise."""

    @property
    def seeds_that_agree(self) -> int:
        """How many seeds have a difference of the same sign as the mean."""
        return sum(sign(value) == sign(self.value) for value in self.by_seed)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; the settings of the evaluation stage."""

    samples: int
    confidence: float
    seed: int


def sign(points: float) -> int:
    """1, 0 or -1; 0 for what is rounding only."""
    return (points > _ROUNDING) - (points < -_ROUNDING)
