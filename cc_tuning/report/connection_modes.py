"""Which kinds of connection a report's runs were measured with, and what each gains, ready to be looked up."""

from collections.abc import Mapping
from functools import cache, cached_property

import polars as pl

from cc_tuning.document.blocks import MISSING, Cell, Tone, number, numeric
from cc_tuning.report.config import Family
from cc_tuning.report.effects import Gain, Share, gain_of, share_of
from cc_tuning.report.names import AVERAGE, CONTROLS, DECIMALS, OFF, PARALLEL, TRANSFORM, UNIT_LABELS, metric_named
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure, Variant

CONSTANT, OTHER, IDENTITY = CONTROLS
MODES = (PARALLEL, TRANSFORM, OTHER, CONSTANT, IDENTITY)
"""What may be added at the connection position, the upper reference first; `off` adds nothing and is what they are held
against."""
GOLD_NLL = "gold_nll"

_ARROWS: dict[Tone, str] = {"better": "▲\u00a0", "worse": "▼\u00a0", "": ""}


class ConnectionModes:
    """The gains of the connected families; each is computed once, when it is asked for."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.gains = cache(self._gains)
        self.share = cache(self._share)

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """Those of which anything was measured through a connection."""
        return tuple(family for family in self._results.families if self.of(family))

    def of(self, family: Family) -> tuple[str, ...]:
        """The kinds that a family was measured with, without `off`."""
        runs = [run.name for run in family.runs]
        scores = self._results.item_scores
        if scores.is_empty():
            return ()
        found = set(scores.filter(pl.col("run").is_in(runs))["connection"].unique())
        return tuple(mode for mode in MODES if mode in found)

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
        if language != AVERAGE:
            found = self._results.comparison(*_pair(family, mode, over), measure, language=language)
            return gain_of(found) if found else None
        return self.gains(family, self._judged_with(measure), mode, over).get(measure)

    def _gains(self, family: Family, measures: tuple[Measure, ...], mode: str, over: str) -> Mapping[Measure, Gain]:
        found = self._results.comparisons([_pair(family, mode, over)], measures)
        return {comparison.measure: gain_of(comparison) for comparison in found}

    def _judged_with(self, measure: Measure) -> tuple[Measure, ...]:
        """The measures of one table."""
        for together in (self.headline_measures, self.likelihood_measures):
            if measure in together:
                return together
        return (measure,)

    def _share(self, family: Family, measure: Measure, part: str = TRANSFORM, whole: str = PARALLEL) -> Share | None:
        """The share of one gain over `off` in another; None where the whole is not clear of zero."""
        gain = self.gain(family, measure, whole)
        if gain is None or gain.verdict == "undecided":
            return None
        results = self._results
        return share_of(results.item_scores, family, measure, (part, whole, OFF), results.bootstrap.confidence)


def _pair(family: Family, mode: str, over: str) -> tuple[Variant, Variant]:
    return Variant(family.name, mode), Variant(family.name, over)


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
