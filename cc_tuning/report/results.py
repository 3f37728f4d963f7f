"""The scores of all runs, ready to be looked up.

Averages and intervals are those of the evaluation stage. What one run's artifact cannot hold is computed here with the
same statistics: differences between runs, paired by item, and the scores of groups of items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from cc_tuning.evaluation.statistics import paired_difference, resample
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import (
    AVERAGE,
    CONNECTION_ORDER,
    baseline_run,
    has_connection,
    metric_place,
)
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
    """`minuend` minus `subtrahend` on the items that both answered, averaged over languages, in points."""

    minuend: Variant
    subtrahend: Variant
    value: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; the settings of the evaluation stage."""

    samples: int
    confidence: float
    seed: int


class Results:
    """The scores of the runs in `evidence`; `runs` gives their order."""

    def __init__(self, evidence: Evidence, bootstrap: Bootstrap) -> None:
        self.bootstrap = bootstrap
        evaluated = [run for run in evidence.runs if run.scores is not None]
        self.runs = tuple(run.name for run in evaluated)
        self.scores = _stacked([run.scores for run in evaluated], list(Score.column_names()))
        self.item_scores = _stacked([run.item_scores for run in evaluated], list(ItemScore.column_names()))
        self._estimates = dict(map(_estimate, self.scores.iter_rows(named=True)))
        self._cells = self.item_scores.partition_by("run", "connection", "benchmark", "metric", as_dict=True)
        self._differences: dict[tuple[Variant, Variant, Measure, str | None], Difference | None] = {}

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Runs in their order; of a connected run first the Transform Matrix, then off, then the upper reference."""
        present = {variant for variant, _, _ in self._estimates}
        ordered = [Variant(run, connection) for run in self.runs for connection in CONNECTION_ORDER]
        return tuple(variant for variant in ordered if variant in present)

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """The benchmarks in the paper's order, each with its metrics."""
        present = {measure for _, measure, _ in self._estimates}
        return tuple(sorted(present, key=lambda m: (BENCHMARKS.index(m.benchmark), metric_place(m.metric))))

    def variants_of(self, measure: Measure) -> tuple[Variant, ...]:
        """The variants that were measured so."""
        return tuple(variant for variant in self.variants if self.score(variant, measure) is not None)

    def languages(self, measure: Measure) -> tuple[str, ...]:
        """The languages of a measure: English first, then by code."""
        found = {language for _, m, language in self._estimates if m == measure and language != AVERAGE}
        return tuple(sorted(found, key=lambda language: (language != "en", language)))

    def score(self, variant: Variant, measure: Measure, language: str = AVERAGE) -> Estimate | None:
        """A score as the evaluation stage wrote it; None when it was not measured."""
        return self._estimates.get((variant, measure, language))

    def baseline_difference(self, variant: Variant, measure: Measure, group: str | None = None) -> Difference | None:
        """A variant against its baseline (`names.baseline_run`), on all items or on those of one group."""
        baseline = baseline_run(variant.run, self.runs)
        return None if baseline is None else self.difference(variant, Variant(baseline, "off"), measure, group)

    def difference(
        self, minuend: Variant, subtrahend: Variant, measure: Measure, group: str | None = None
    ) -> Difference | None:
        """The paired difference of two variants; None when one was not measured or they share no item."""
        key = (minuend, subtrahend, measure, group)
        if key not in self._differences:
            self._differences[key] = self._compute_difference(*key)
        return self._differences[key]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups that items belong to, by name; empty when the benchmarks have none."""
        return tuple(sorted(self.item_scores["group"].drop_nulls().unique().to_list()))

    def group_score(self, variant: Variant, measure: Measure, group: str) -> Estimate | None:
        """The score of one group's items, averaged over the languages that have some; None without such items."""
        items = self._items(variant, measure, group)
        if not items.height:
            return None
        drawn = resample(items, samples=self.bootstrap.samples, seed=self.bootstrap.seed)
        interval = drawn.average(self.bootstrap.confidence)
        return Estimate(interval.value, interval.low, interval.high, items.height)

    @cached_property
    def items_per_cell(self) -> tuple[int, int]:
        """The smallest and the largest number of items behind a score of one language."""
        numbers = [estimate.items for (_, _, language), estimate in self._estimates.items() if language != AVERAGE]
        return min(numbers), max(numbers)

    def coverage(self, variant: Variant, measure: Measure) -> tuple[int, int]:
        """Items behind a variant's average, and the most behind any variant's."""
        own = self.score(variant, measure)
        most = max(e.items for (_, m, language), e in self._estimates.items() if m == measure and language == AVERAGE)
        return (own.items if own else 0), most

    @property
    def connected_runs(self) -> tuple[str, ...]:
        """The runs with a connection."""
        return tuple(run for run in self.runs if has_connection(run))

    def _compute_difference(
        self, minuend: Variant, subtrahend: Variant, measure: Measure, group: str | None
    ) -> Difference | None:
        ours, theirs = (self._items(variant, measure, group) for variant in (minuend, subtrahend))
        if not ours.join(theirs, on=["language", "item_id"], how="semi").height:
            return None
        settings = self.bootstrap
        paired = paired_difference(
            ours, theirs, samples=settings.samples, confidence=settings.confidence, seed=settings.seed
        )
        return Difference(minuend, subtrahend, paired.value, paired.low, paired.high, paired.items)

    def _items(self, variant: Variant, measure: Measure, group: str | None) -> pl.DataFrame:
        key = (variant.run, variant.connection, measure.benchmark, measure.metric)
        items = self._cells.get(key, self.item_scores.clear())
        return items if group is None else items.filter(pl.col("group") == group)


def _estimate(row: Mapping[str, Any]) -> tuple[tuple[Variant, Measure, str], Estimate]:
    key = (Variant(row["run"], row["connection"]), Measure(row["benchmark"], row["metric"]), row["language"])
    return key, Estimate(row["value"], row["ci_low"], row["ci_high"], row["items"])


def _stacked(frames: Sequence[pl.DataFrame | None], columns: Sequence[str]) -> pl.DataFrame:
    """All rows, sorted, with plain strings: enums of separate files need not be equal."""
    known = [frame for frame in frames if frame is not None]
    if not known:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    enums = [pl.col(name).cast(pl.String) for name in ("connection", "benchmark")]
    keys = ["run", "connection", "benchmark", "metric", "language"]
    frame = pl.concat([frame.with_columns(enums) for frame in known])
    return frame.sort(*keys, *[name for name in ("item_id",) if name in columns])
