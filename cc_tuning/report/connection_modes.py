"""Which kinds of connection a report's runs were measured with, and what each gains, ready to be looked up."""

from collections.abc import Mapping
from functools import cache, cached_property

import polars as pl

from cc_tuning.document.blocks import MISSING, Cell, Tone, number, numeric
from cc_tuning.report.config import Family
from cc_tuning.report.effects import Gain, Share, gain_of, share_of
from cc_tuning.report.names import (
    AVERAGE,
    CONTEXT,
    CONTROLS,
    DECIMALS,
    OFF,
    PARALLEL,
    PIVOT,
    PIVOT_CONTEXT,
    TRANSFORM,
    UNIT_LABELS,
    metric_named,
)
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure, Variant

CONSTANT, OTHER, IDENTITY = CONTROLS
MODES = (PARALLEL, TRANSFORM, PIVOT, CONTEXT, PIVOT_CONTEXT, OTHER, CONSTANT, IDENTITY)
"""What may be added at the connection position or to the text, the upper reference first; `off` adds nothing and is
what they are held against."""
GOLD_NLL = "gold_nll"

_ARROWS: dict[Tone, str] = {"better": "▲\u00a0", "worse": "▼\u00a0", "": ""}


class ConnectionModes:
    """The gains of the connected families; each is computed once, when it is asked for."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.share = cache(self._share)
        self._found = cache(self._compared)

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """Those of which anything was measured through a connection, or with English in the prompt."""
        return tuple(family for family in self._results.families if self.of(family))

    def of(self, family: Family) -> tuple[str, ...]:
        """The kinds that a family was measured with, without `off`."""
        return tuple(mode for mode in MODES if Variant(family.name, mode) in self._results.variants)

    @property
    def headline_measures(self) -> tuple[Measure, ...]:
        """The benchmarks, each with the metric that stands for it where there is room for one."""
        return self._results.headline_measures

    @property
    def likelihood_measures(self) -> tuple[Measure, ...]:
        """The likelihood of the gold answer on each benchmark that has it."""
        return tuple(measure for measure in self._results.measures if measure.metric == GOLD_NLL)

    def languages(self, measure: Measure) -> tuple[str, ...]:
        """Of a measure: English first, then by code."""
        return self._results.languages(measure)

    def gain(
        self, family: Family, measure: Measure, mode: str, over: str = OFF, language: str = AVERAGE
    ) -> Gain | None:
        """What `mode` gains over another kind; None where no item has both.

        An average is judged among those of all benchmarks with the same metric or headline, one language for itself.
        """
        measures = self._judged_with(measure) if language == AVERAGE else (measure,)
        return self._found(measures, over, language).get((family.name, mode, measure))

    def _compared(
        self, measures: tuple[Measure, ...], over: str, language: str
    ) -> Mapping[tuple[str, str, Measure], Gain]:
        """The gains of every kind of every family over `over`, by family, kind and measure: asked for together, since
        what is drawn for one is drawn for all.
        """
        pairs = [
            (Variant(family.name, mode), Variant(family.name, over))
            for family in self.families
            for mode in self.of(family)
            if mode != over
        ]
        found = self._results.comparisons(pairs, measures, language=language)
        return {(each.minuend.family, each.minuend.connection, each.measure): gain_of(each) for each in found}

    def _judged_with(self, measure: Measure) -> tuple[Measure, ...]:
        """The measures of one table."""
        for together in (self.headline_measures, self.likelihood_measures):
            if measure in together:
                return together
        return (measure,)

    def _share(self, family: Family, measure: Measure, part: str = TRANSFORM, whole: str = PARALLEL) -> Share | None:
        """The share of one gain over `off` in another; None where the whole does not clearly help."""
        gain = self.gain(family, measure, whole)
        if gain is None or gain.verdict != "better":
            return None
        rows = self._answered_by_all.get((measure.benchmark, measure.metric))
        if rows is None:
            return None
        return share_of(rows, family, measure, (part, whole, OFF), self._results.bootstrap.confidence)

    @cached_property
    def _answered_by_all(self) -> Mapping[tuple[object, ...], pl.DataFrame]:
        """The item scores that shares are made of, by benchmark and metric."""
        metrics = {measure.metric for measure in (*self.headline_measures, *self.likelihood_measures)}
        rows = self._results.item_scores.filter(
            pl.col("metric").is_in(metrics), pl.col("connection").is_in([TRANSFORM, PARALLEL, OFF])
        )
        return rows.partition_by("benchmark", "metric", as_dict=True)


def unit_of(measure: Measure) -> str:
    """What its gains are counted in, in words."""
    unit = metric_named(measure.metric).unit
    return "points" if unit == "percent" else UNIT_LABELS[unit]


def gain_cell(gain: Gain | None, measure: Measure) -> Cell:
    """A gain with its interval; an arrow where it is called one."""
    if gain is None:
        return numeric(MISSING)
    tone: Tone = "" if gain.verdict == "undecided" else gain.verdict
    text = _ARROWS[tone] + signed(gain.value, measure)
    return numeric(text, f"[{interval(gain, measure)}]", tone, gain.value, (gain.low, gain.high))


def signed(value: float, measure: Measure) -> str:
    """A gain with its sign, in tenths of a point or thousandths of a nat or bit."""
    return number(value, DECIMALS[metric_named(measure.metric).unit], "+")


def interval(gain: Gain, measure: Measure) -> str:
    """The two ends."""
    return f"{signed(gain.low, measure)},\u00a0{signed(gain.high, measure)}"
