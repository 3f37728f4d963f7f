"""The scores of all families, ready to be looked up.

Averages and intervals of a run are those of the evaluation stage. What one run's artifact cannot hold is computed from
the scores of items: means over seeds, differences between families, and the scores of groups of items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import polars as pl

from cc_tuning.report.config import Family
from cc_tuning.report.names import AVERAGE, CONNECTION_LABELS, OFF, benchmark_place, metric_place
from cc_tuning.report.run_evidence import RunEvidence
from cc_tuning.report.scores import Bootstrap, Difference, Estimate, ItemScores, Measure, Variant
from data_contracts.schemas import ItemScore, Score


class Results:
    """The scores of the runs that were evaluated; `families` gives their order."""

    def __init__(self, families: Sequence[Family], runs: Sequence[RunEvidence], bootstrap: Bootstrap) -> None:
        self.bootstrap = bootstrap
        evaluated = [at for at in runs if at.scores is not None]
        self.families = _evaluated_families(families, {at.run.name for at in evaluated})
        self.item_scores = _stacked([at.item_scores for at in evaluated], list(ItemScore.column_names()))
        written = _stacked([at.scores for at in evaluated], list(Score.column_names()))
        self._scores = {_key(row): _written_estimate(row) for row in written.iter_rows(named=True)}
        self._computed = ItemScores(self.item_scores, self.families, bootstrap)
        self._differences: dict[tuple[Variant, Variant, Measure, str | None], Difference | None] = {}

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Families in their order; of a connected one first the Transform Matrix, then off, then the real prompt."""
        present = {(run, connection) for run, connection, _, _ in self._scores}
        return tuple(
            Variant(family.name, connection)
            for family in self.families
            for connection in CONNECTION_LABELS
            if any((run.name, connection) in present for run in family.runs)
        )

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """The benchmarks in the paper's order, each with its metrics."""
        present = {measure for _, _, measure, _ in self._scores}
        return tuple(sorted(present, key=lambda m: (benchmark_place(m.benchmark), metric_place(m.metric))))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups that items belong to, by name; empty when the benchmarks have none."""
        return tuple(sorted(self.item_scores["group"].drop_nulls().unique().to_list()))

    @cached_property
    def items_per_cell(self) -> tuple[int, int]:
        """The smallest and the largest number of items behind a score of one language."""
        numbers = [estimate.items for (*_, language), estimate in self._scores.items() if language != AVERAGE]
        return min(numbers), max(numbers)

    @property
    def have_seeds(self) -> bool:
        """Whether a family was made with several seeds."""
        return any(family.seeds > 1 for family in self.families)

    def family(self, name: str) -> Family:
        """The family of this name, with the runs that were evaluated."""
        return next(family for family in self.families if family.name == name)

    def is_connected(self, family: str) -> bool:
        """Whether a family has a connection: whether anything was answered through one."""
        return any(variant.family == family and variant.connection != OFF for variant in self.variants)

    def connection_label(self, variant: Variant) -> str:
        """What was added at the connection position; empty for a family without a connection."""
        return CONNECTION_LABELS[variant.connection] if self.is_connected(variant.family) else ""

    def languages(self, measure: Measure) -> tuple[str, ...]:
        """The languages of a measure: English first, then by code."""
        found = {language for _, _, m, language in self._scores if m == measure and language != AVERAGE}
        return tuple(sorted(found, key=lambda language: (language != "en", language)))

    def run_score(self, run: str, connection: str, measure: Measure, language: str = AVERAGE) -> Estimate | None:
        """The score of one run as the evaluation stage wrote it; None when it was not measured."""
        return self._scores.get((run, connection, measure, language))

    def score(self, variant: Variant, measure: Measure, language: str = AVERAGE) -> Estimate | None:
        """The score of a family: of its one run, or the mean over its seeds; None when it was not measured."""
        runs = self.family(variant.family).runs
        if len(runs) == 1:
            return self.run_score(runs[0].name, variant.connection, measure, language)
        return self._computed.estimate(variant, measure, language=language)

    def group_score(self, variant: Variant, measure: Measure, group: str) -> Estimate | None:
        """The score of one group's items, averaged over the languages that have some; None without such items."""
        return self._computed.estimate(variant, measure, group)

    def coverage(self, variant: Variant, measure: Measure) -> tuple[int, int]:
        """Items behind a variant's average, and the most behind any run's."""
        own = self.score(variant, measure)
        most = max(e.items for (_, _, m, language), e in self._scores.items() if m == measure and language == AVERAGE)
        return (own.items if own else 0), most

    def baseline_difference(self, variant: Variant, measure: Measure, group: str | None = None) -> Difference | None:
        """A variant against its family's baseline, on all items or on those of one group.

        A baseline without a connection is taken as it is, one with a connection through the same kind of it.
        """
        baseline = self.family(variant.family).baseline
        connection = variant.connection if self.is_connected(baseline) else OFF
        return self.difference(variant, Variant(baseline, connection), measure, group) if baseline else None

    def difference(
        self, minuend: Variant, subtrahend: Variant, measure: Measure, group: str | None = None
    ) -> Difference | None:
        """The paired difference of two variants; None when one was not measured or they share no item."""
        key = (minuend, subtrahend, measure, group)
        if key not in self._differences:
            self._differences[key] = self._computed.difference(*key)
        return self._differences[key]


def _evaluated_families(families: Sequence[Family], evaluated: set[str]) -> tuple[Family, ...]:
    """The families with the runs that were evaluated; a baseline that was not is none."""
    kept = [replace(family, runs=tuple(run for run in family.runs if run.name in evaluated)) for family in families]
    names = {family.name for family in kept if family.runs}
    return tuple(at if at.baseline in names else replace(at, baseline="") for at in kept if at.runs)


def _key(row: Mapping[str, Any]) -> tuple[str, str, Measure, str]:
    return row["run"], row["connection"], Measure(row["benchmark"], row["metric"]), row["language"]


def _written_estimate(row: Mapping[str, Any]) -> Estimate:
    return Estimate(row["value"], row["ci_low"], row["ci_high"], row["items"], (row["value"],))


def _stacked(frames: Sequence[pl.DataFrame | None], columns: Sequence[str]) -> pl.DataFrame:
    """All rows, sorted, with plain strings: enums of separate files need not be equal."""
    known = [frame for frame in frames if frame is not None]
    if not known:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    enums = [pl.col(name).cast(pl.String) for name in ("connection", "benchmark")]
    keys = ["run", "connection", "benchmark", "metric", "language"]
    frame = pl.concat([frame.with_columns(enums) for frame in known])
    return frame.sort(*keys, *[name for name in ("item_id",) if name in columns])
