"""Scores and differences that are computed from the scores of single items: means over seeds, comparisons of families.

The item scores of a benchmark are one table, and what is asked for together is computed together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cc_tuning.evaluation.scales import scale_of
from cc_tuning.evaluation.statistics.differences import Difference, differences_of
from cc_tuning.evaluation.statistics.intervals import Bounds, Settings, mean_intervals
from cc_tuning.evaluation.statistics.seeds import Spread, seed_spreads
from cc_tuning.evaluation.statistics.tables import ScoreTable, score_table
from cc_tuning.evaluation.statistics.units import Floats, average_sample
from cc_tuning.report.config import Family
from cc_tuning.report.names import AVERAGE
from cc_tuning.report.run_evidence import RunEvidence
from cc_tuning.report.scores import Bootstrap, Comparison, Estimate, Group, Measure, Variant
from cc_tuning.report.verdicts import verdict_of
from data_contracts.parquet_stream import written_in_batches
from data_contracts.schemas import ItemScore

_BATCH_ROWS = 100_000
_COLUMN = ("run", "connection", "metric")


@dataclass(frozen=True)
class Question:
    """Two variants to be compared under one measure."""

    minuend: Variant
    subtrahend: Variant
    measure: Measure


class ItemScores:
    """The item scores of all evaluated runs, as they are and averaged over the seeds of a family."""

    def __init__(self, item_scores: pl.DataFrame, families: Sequence[Family], bootstrap: Bootstrap) -> None:
        self._families = {family.name: family for family in families}
        self._settings = Settings(bootstrap.samples, bootstrap.confidence, bootstrap.seed)
        self._item_scores = item_scores
        self._benchmarks = frozenset(item_scores["benchmark"].unique().to_list())
        self._parts: dict[tuple[str, Group, str], ScoreTable] = {}

    def estimate(
        self, variant: Variant, measure: Measure, group: Group = None, language: str = AVERAGE
    ) -> Estimate | None:
        """The mean over items and seeds, of one language or averaged over languages; None without such items."""
        table = self._table(measure.benchmark, group, language)
        if table is None:
            return None
        seeds = self._by_seed(table, variant, measure)
        sample = average_sample(_mean(seeds)[:, None], table.cells)
        if not sample.cells[0]:
            return None
        low, high = mean_intervals(sample, scale_of(measure.metric).bounds, self._settings)
        by_seed = _averages(table, list(seeds.values()))
        return Estimate(float(sample.value[0]), float(low[0]), float(high[0]), int(sample.cells[0]), by_seed)

    def comparisons(
        self, questions: Sequence[Question], group: Group = None, language: str = AVERAGE
    ) -> list[Comparison | None]:
        """The answer to each question, `p_holm` still `p`; None where a side was not measured or they share no item."""
        answers: dict[Question, Comparison | None] = dict.fromkeys(questions)
        for benchmark, bounds in sorted({_kind(of.measure) for of in questions}, key=str):
            asked = [of for of in answers if _kind(of.measure) == (benchmark, bounds)]
            table = self._table(benchmark, group, language)
            if table is not None:
                answers |= zip(asked, self._answered(table, asked, bounds), strict=True)
        return [answers[question] for question in questions]

    def _answered(
        self, table: ScoreTable, questions: Sequence[Question], bounds: Bounds | None
    ) -> list[Comparison | None]:
        sides = [
            [_mean(self._by_seed(table, side(of), of.measure)) for of in questions]
            for side in (lambda of: of.minuend, lambda of: of.subtrahend)
        ]
        ours, theirs = (np.stack(side, axis=1) for side in sides)
        found = differences_of(ours, theirs, table.cells, bounds=bounds, settings=self._settings)
        return [
            self._comparison(table, question, difference, bounds) if difference else None
            for question, difference in zip(questions, found, strict=True)
        ]

    def _comparison(
        self, table: ScoreTable, question: Question, over_items: Difference, bounds: Bounds | None
    ) -> Comparison:
        by_seed, spreads = self._seeds(table, question)
        largest = bounds[1] - bounds[0] if bounds else np.inf
        confidence = self._settings.confidence
        difference = over_items.over_seeds(spreads, confidence, largest)
        return Comparison(
            minuend=question.minuend, subtrahend=question.subtrahend, measure=question.measure,
            value=difference.value, low=difference.low, high=difference.high,
            p=difference.p, p_items=over_items.p, p_holm=difference.p,
            items=difference.items, languages=difference.languages, clusters=difference.units,
            unmatched=difference.unmatched, confidence=confidence,
            smallest_showable=difference.smallest_showable(confidence), by_seed=by_seed,
            verdict=verdict_of(question.measure, difference, difference.p, confidence),
        )  # fmt: skip

    def _seeds(self, table: ScoreTable, question: Question) -> tuple[tuple[float, ...], tuple[Spread, ...]]:
        """The difference of each seed (see `Comparison.by_seed`), and how far the seeds of both sides lie apart."""
        ours, theirs = (
            self._by_seed(table, side, question.measure) for side in (question.minuend, question.subtrahend)
        )
        if ours.keys() == theirs.keys():
            by_seed = _averages(table, [of - theirs[seed] for seed, of in ours.items()])
            return by_seed, seed_spreads(by_seed, ())
        against_theirs = _averages(table, [of - _mean(theirs) for of in ours.values()])
        against_ours = _averages(table, [_mean(ours) - of for of in theirs.values()])
        shown = against_theirs if len(ours) > 1 or len(theirs) == 1 else against_ours
        return shown, seed_spreads(against_theirs, against_ours)

    def _table(self, benchmark: str, group: Group, language: str) -> ScoreTable | None:
        """The items of a benchmark, of one group and language where they are named; None without any."""
        key = (benchmark, group, language)
        if key not in self._parts:
            if benchmark not in self._benchmarks:
                return None
            if group is None and language == AVERAGE:
                self._parts[key] = score_table(self._item_scores.filter(pl.col("benchmark") == benchmark), _COLUMN)
            else:
                whole = self._table(benchmark, None, AVERAGE)
                assert whole is not None
                self._parts[key] = whole.part(group=group, language=None if language == AVERAGE else language)
        found = self._parts[key]
        return found if found.rows.height else None

    def _by_seed(self, table: ScoreTable, variant: Variant, measure: Measure) -> Mapping[int | None, Floats]:
        """Seed to the scores `[N]` of its run."""
        runs = self._families[variant.family].runs
        return {run.seed: table.column((run.name, variant.connection, measure.metric)) for run in runs}


def write_item_scores(runs: Sequence[RunEvidence], path: Path) -> int:
    """Write the item scores of all runs, run by run in their order; returns how many rows there are."""
    with written_in_batches(path, ItemScore) as stream:
        for run in runs:
            for batch in () if run.item_scores is None else run.item_scores.iter_slices(_BATCH_ROWS):
                stream.write(batch)
        return stream.rows


def _kind(measure: Measure) -> tuple[str, Bounds | None]:
    return measure.benchmark, scale_of(measure.metric).bounds


def _mean(by_seed: Mapping[int | None, Floats]) -> Floats:
    """`[N]`: the mean over seeds, of items that all of them answered."""
    return np.mean(list(by_seed.values()), axis=0)


def _averages(table: ScoreTable, columns: Sequence[Floats]) -> tuple[float, ...]:
    """The average over languages of each column."""
    return tuple(average_sample(np.stack(columns, axis=1), table.cells).value.tolist())
