"""The scores of all families, ready to be looked up.

Averages and intervals of a run are those of the evaluation stage. What one run's artifact cannot hold is computed from
the scores of items: means over seeds, differences between families, and the scores of groups of items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import polars as pl

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.report.config import Family
from cc_tuning.report.item_scores import ItemScores, Question
from cc_tuning.report.names import AS_TEXT, AVERAGE, CONNECTION_LABELS, OFF, benchmark_place, metric_place
from cc_tuning.report.run_evidence import RunEvidence
from cc_tuning.report.scores import Bootstrap, Comparison, Estimate, Group, Measure, Variant
from cc_tuning.report.sentences import connected_name, sentence
from cc_tuning.report.verdicts import adjusted_for_all
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
        self._compared: dict[tuple[Question, Group, str], Comparison | None] = {}

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
    def headline_measures(self) -> tuple[Measure, ...]:
        """The benchmarks, each with the metric that stands for it where there is room for one."""
        return tuple(at for at in self.measures if at.metric == BENCHMARKS[at.benchmark].headline_metric.name)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups that items belong to, by name; empty when the benchmarks have none."""
        return tuple(sorted(self.item_scores["group"].drop_nulls().unique().to_list()))

    @cached_property
    def items_per_cell(self) -> tuple[int, int]:
        """The smallest and the largest number of items behind a headline score of one language.

        Other measures may be about fewer: an answer's language is told of answers that are long enough.
        """
        headline = set(self.headline_measures) or set(self.measures)
        numbers = [
            estimate.items
            for (_, _, measure, language), estimate in self._scores.items()
            if language != AVERAGE and measure in headline
        ]
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
        without = (OFF, *AS_TEXT)
        return any(variant.family == family and variant.connection not in without for variant in self.variants)

    def connection_label(self, variant: Variant) -> str:
        """What was added at the connection position or to the prompt; empty for a model alone."""
        is_alone = variant.connection == OFF and not self.is_connected(variant.family)
        return "" if is_alone else CONNECTION_LABELS[variant.connection]

    def languages(self, measure: Measure) -> tuple[str, ...]:
        """The languages of a measure: English first, then by code."""
        return self._languages.get(measure, ())

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
        return (own.items if own else 0), self._most_items[measure]

    @cached_property
    def _languages(self) -> dict[Measure, tuple[str, ...]]:
        # Looked up for every row of every table, so read out of the scores once.
        found: dict[Measure, set[str]] = {}
        for _, _, measure, language in self._scores:
            if language != AVERAGE:
                found.setdefault(measure, set()).add(language)
        return {at: tuple(sorted(of, key=lambda language: (language != "en", language))) for at, of in found.items()}

    @cached_property
    def _most_items(self) -> dict[Measure, int]:
        most: dict[Measure, int] = {}
        for (_, _, measure, language), estimate in self._scores.items():
            if language == AVERAGE:
                most[measure] = max(most.get(measure, 0), estimate.items)
        return most

    def baseline_of(self, variant: Variant) -> Variant | None:
        """What a variant is held against; None for a family without a baseline.

        A baseline without a connection is taken as it is, one with a connection through the same kind of it.
        """
        baseline = self.family(variant.family).baseline
        connection = variant.connection if self.is_connected(baseline) else OFF
        return Variant(baseline, connection) if baseline else None

    def baseline_comparison(
        self, variant: Variant, measure: Measure, group: Group = None, language: str = AVERAGE
    ) -> Comparison | None:
        """A variant against its baseline, on all items or on those of one group or language."""
        baseline = self.baseline_of(variant)
        return self.comparison(variant, baseline, measure, group, language) if baseline else None

    def comparison(
        self, minuend: Variant, subtrahend: Variant, measure: Measure, group: Group = None, language: str = AVERAGE
    ) -> Comparison | None:
        """`minuend` minus `subtrahend`, paired by item, for itself: `p_holm` is `p`.

        None when one was not measured or they share no item.
        """
        return self._answers([Question(minuend, subtrahend, measure)], group, language)[0]

    def comparisons(
        self,
        pairs: Sequence[tuple[Variant, Variant]] | None = None,
        measures: Sequence[Measure] | None = None,
        group: Group = None,
        language: str = AVERAGE,
    ) -> tuple[Comparison, ...]:
        """Every pair (minuend, subtrahend) under every measure, in this order, those that can be compared.

        By default each variant against its baseline, under the headline metrics. The measures of a pair are one family
        of tests: `p_holm` and `verdict` count all of them.
        """
        if pairs is None:
            pairs = [(variant, baseline) for variant in self.variants if (baseline := self.baseline_of(variant))]
        measures = self.headline_measures if measures is None else measures
        asked = [Question(minuend, subtrahend, measure) for minuend, subtrahend in pairs for measure in measures]
        answers = iter(self._answers(asked, group, language))
        found: list[Comparison] = []
        for _ in pairs:
            of_pair = [answer for _ in measures if (answer := next(answers))]
            found += adjusted_for_all(of_pair, self.bootstrap.confidence)
        return tuple(found)

    def sentence(self, comparison: Comparison) -> str:
        """A comparison in plain words, with the names of the page."""
        return sentence(comparison, self.name_of)

    def name_of(self, variant: Variant) -> str:
        """A variant in a sentence: `ML-SFT`, or `CC-Tuning with its matrix`."""
        label = self.family(variant.family).label
        return connected_name(label, variant.connection) if self.is_connected(variant.family) else label

    def _answers(self, questions: Sequence[Question], group: Group, language: str) -> list[Comparison | None]:
        """Those that were not asked before are answered together."""
        new = [of for of in dict.fromkeys(questions) if (of, group, language) not in self._compared]
        for question, answer in zip(new, self._computed.comparisons(new, group, language), strict=True):
            self._compared[question, group, language] = answer
        return [self._compared[question, group, language] for question in questions]


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
    """All rows, sorted, their texts as categories: enums of separate files need not be equal, and strings are large."""
    known = [frame for frame in frames if frame is not None]
    if not known:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.Categorical))
    keys = ["run", "connection", "benchmark", "metric", "language"]
    frame = pl.concat([frame.with_columns(pl.col(pl.String, pl.Enum).cast(pl.Categorical)) for frame in known])
    return frame.sort(*keys, *[name for name in ("item_id",) if name in columns])
