"""The scores of all runs, ready to be looked up: estimates, differences to the baseline, groups.

Averages and intervals are those of the evaluation stage. What one run's artifact cannot hold is computed here with the same statistics:
differences between runs, paired by item, and scores of groups of items.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import AVERAGE, CONNECTION_ORDER, baseline_run, has_connection, metric_place, run_label
from data_contracts.schemas import BENCHMARKS, ItemScore, Score


@dataclass(frozen=True)
class Variant:
    """A run with one kind of connection: a row of the main table."""

    run: str
    connection: str


@dataclass(frozen=True)
class Measure:
    """A benchmark with one metric: a column of the main table."""

    benchmark: str
    metric: str


@dataclass(frozen=True)
class Estimate:
    """A score with its interval, 0 to 100."""

    value: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Difference:
    """A difference of two averages over the items that both answered, in points, with its paired interval."""

    value: float
    low: float
    high: float
    items: int
    baseline: str


@dataclass(frozen=True)
class BootstrapSettings:
    """How intervals are made; the settings of the evaluation stage."""

    samples: int
    confidence: float
    seed: int
