"""What runs that are moved into a language are told by: win rates over their baseline, and scores there and in English.

A row is a family, a column a figure in one language. With several seeds a figure is the mean of theirs; the error of a
win rate is then the mean of their errors, since the seeds share their instructions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import polars as pl

from cc_tuning.evaluation.benchmark import ACCURACY, IN_LANGUAGE
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import OFF, TRANSFORM, benchmark_place
from cc_tuning.report.published_transfer import WIN_RATE, PublishedTransfer, published_transfer
from cc_tuning.report.scores import Measure, Variant

ENGLISH = "en"
_READING, _KNOWLEDGE = ("BELEBELE-fields", "BELEBELE"), ("MMMLU",)
_IN_PAPER = {"BELEBELE-fields": "BELEBELE"}
"""What the paper calls a benchmark that has another name here."""


@dataclass(frozen=True)
class Column:
    """A figure in one language."""

    benchmark: str
    metric: str
    language: str


@dataclass(frozen=True)
class Figure:
    """A value in percent; the ends of its interval, two standard errors on either side for a win rate."""

    value: float
    low: float
    high: float
    error: float | None
    """Of a win rate; None where it is of one item."""
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Transfer:
    """The families that are moved into one language."""

    evidence: Evidence
    target: str
    families: tuple[Family, ...]

    @property
    def origins(self) -> tuple[Family, ...]:
        """What these families come from: those without pairs that one of them is held against, as the base model."""
        baselines, known = {family.baseline for family in self.families}, self.evidence.results.families
        return tuple(family for family in known if family.name in baselines and not family.runs[0].target)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that some family has a figure for: win rates, then reading, knowledge and the answers' language.

        Where a recipe measures neither reading nor knowledge, its headline measures stand there.
        """
        judged = {
            (str(benchmark), str(language))
            for family in self.families
            for rates in self._rates(family)
            for benchmark, language in rates.select("benchmark", "language").iter_rows()
        }
        languages = (self.target, ENGLISH)
        wins = [
            Column(benchmark, WIN_RATE, language)
            for benchmark in sorted({name for name, _ in judged}, key=benchmark_place)
            for language in languages
            if (benchmark, language) in judged
        ]
        reading = next((name for name in _READING if self._is_measured(name, ACCURACY.name)), None)
        named = [Measure(name, ACCURACY.name) for name in (reading, *_KNOWLEDGE) if name]
        named = [at for at in named if self._is_measured(at.benchmark, at.metric)] or list(
            self.evidence.results.headline_measures
        )
        named += [Measure(name, IN_LANGUAGE.name) for name in self._written()]
        scores = [Column(at.benchmark, at.metric, language) for at in named for language in languages]
        return tuple(column for column in (*wins, *scores) if any(self.figure(at, column) for at in self.families))

    def figure(self, family: Family, column: Column) -> Figure | None:
        """A family's figure; None where it was not measured."""
        if column.metric == WIN_RATE:
            return self._win_rate(family, column)
        estimate = self.evidence.results.score(
            self.variant(family), Measure(column.benchmark, column.metric), column.language
        )
        if estimate is None:
            return None
        return Figure(estimate.value, estimate.low, estimate.high, None, estimate.by_seed)

    def printed(self, family: Family, column: Column) -> PublishedTransfer | None:
        """The paper's figure for it; None where there is none."""
        benchmark = _IN_PAPER.get(column.benchmark, column.benchmark)
        model, method = self.evidence.config.base_model, _method_of(family)
        return published_transfer(model, method, self.target, column.language, benchmark, column.metric)

    def judgements(self, family: Family) -> pl.DataFrame:
        """WinRate rows of the family's runs; empty where nobody judged."""
        rates = self._rates(family)
        return pl.concat(rates) if rates else pl.DataFrame()

    def _win_rate(self, family: Family, column: Column) -> Figure | None:
        chosen = [
            rates.filter(
                pl.col("benchmark").cast(pl.String) == column.benchmark,
                pl.col("language") == column.language,
                pl.col("win_rate").is_not_null(),
            )
            for rates in self._rates(family)
        ]
        found = [rate.row(0, named=True) for rate in chosen if rate.height]
        if not found:
            return None
        values = tuple(float(rate["win_rate"]) for rate in found)
        errors = [rate["standard_error"] for rate in found if rate["standard_error"] is not None]
        error = fmean(errors) if errors else None
        value, reach = fmean(values), 2 * (error or 0.0)
        return Figure(value, max(0.0, value - reach), min(100.0, value + reach), error, values)

    def _rates(self, family: Family) -> list[pl.DataFrame]:
        return [run.win_rates for run in self.evidence.of(family) if run.win_rates is not None]

    def variant(self, family: Family) -> Variant:
        """What a family is measured by: its matrix where it has a connection."""
        known = {at.name for at in self.evidence.results.families}
        connected = family.name in known and self.evidence.results.is_connected(family.name)
        return Variant(family.name, TRANSFORM if connected else OFF)

    def _is_measured(self, benchmark: str, metric: str) -> bool:
        columns = [Column(benchmark, metric, language) for language in (self.target, ENGLISH)]
        return any(self.figure(family, column) for family in self.families for column in columns)

    def _written(self) -> list[str]:
        """The benchmarks whose answers are long enough for their language to be told."""
        measures = self.evidence.results.measures
        return [at.benchmark for at in measures if at.metric == IN_LANGUAGE.name]


def transfers(evidence: Evidence) -> Sequence[Transfer]:
    """One for each language that runs of the report are moved into, in the order of the runs."""
    evaluated = {family.name for family in evidence.results.families}
    targets = dict.fromkeys(run.run.target for run in evidence.runs if run.run.target)
    return [
        Transfer(
            evidence,
            target,
            tuple(at for at in evidence.families if at.runs[0].target == target and at.name in evaluated),
        )
        for target in targets
    ]


def _method_of(family: Family) -> str:
    """The run of the paper that a family is: its label there is that of its method."""
    return {"SFT": "sft", "SFT-eng": "sft-eng", "SFT-tgt": "sft-tgt", "SFT+DPO": "sft+dpo", "CLO": "clo"}.get(
        family.runs[0].method, ""
    )
