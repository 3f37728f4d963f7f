"""Which kinds of connection a report's runs were measured with, and what each gains, ready to be looked up."""

from collections.abc import Sequence
from functools import cache, cached_property

import polars as pl

from cc_tuning.document.blocks import MISSING, Cell, Tone, number, numeric
from cc_tuning.evaluation.benchmark import METRICS
from cc_tuning.report.config import Family
from cc_tuning.report.effects import ConnectionScores, Gain, Share
from cc_tuning.report.names import AVERAGE, OFF, PARALLEL, TRANSFORM
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure

CONSTANT, OTHER, IDENTITY = "constant", "other", "identity"
MODES = {
    PARALLEL: "real English prompt",
    TRANSFORM: "Transform Matrix",
    OTHER: "another item's English prompt",
    CONSTANT: "constant vector",
    IDENTITY: "its own activation",
}
"""What may be added at the connection position, as the page calls it; `off` adds nothing and is what they are held
against."""
GOLD_NLL = "gold_nll"

_ARROWS: dict[Tone, str] = {"better": "▲\u00a0", "worse": "▼\u00a0", "": ""}
_UNITS = {"percent": "points", "nats_per_token": "nats per token", "bits_per_byte": "bits per byte"}


class ConnectionModes:
    """The gains of the connected families; each is computed once, when it is asked for."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.gain = cache(self._gain)
        self.share = cache(self._share)
        self._scores = cache(self._joined)

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
        """One for each benchmark: the first of its metrics that stands where there is room for one figure."""
        chosen: dict[str, Measure] = {}
        for measure in self._results.measures:
            if measure.metric not in METRICS or METRICS[measure.metric].is_headline:
                chosen.setdefault(measure.benchmark, measure)
        return tuple(chosen.values())

    @property
    def likelihood_measures(self) -> tuple[Measure, ...]:
        """The likelihood of the gold answer on each benchmark that has it."""
        return tuple(measure for measure in self._results.measures if measure.metric == GOLD_NLL)

    def languages(self, measure: Measure) -> tuple[str, ...]:
        """Of a measure: English first, then by code."""
        return self._results.languages(measure)

    def _gain(
        self, family: Family, measure: Measure, mode: str, over: str = OFF, language: str = AVERAGE
    ) -> Gain | None:
        """What `mode` gains over another one; None where no item has both."""
        scores = self._scores(family, measure, (mode, over))
        return scores.gain(mode, over, language) if scores.items(language) else None

    def _share(self, family: Family, measure: Measure, part: str = TRANSFORM, whole: str = PARALLEL) -> Share | None:
        """The share of one gain over `off` in another; None where the whole is not clear of zero."""
        scores = self._scores(family, measure, (part, whole, OFF))
        return scores.share(part, whole, OFF) if scores.items() else None

    def _joined(self, family: Family, measure: Measure, modes: Sequence[str]) -> ConnectionScores:
        results = self._results
        return ConnectionScores(results.item_scores, family, measure, modes, results.bootstrap)


def unit_of(measure: Measure) -> str:
    """What its gains are counted in, in words."""
    return _UNITS[METRICS[measure.metric].unit] if measure.metric in METRICS else "points"


def decimals_of(measure: Measure) -> int:
    """Decimals of its gains: tenths of a point, thousandths of a nat or bit."""
    return 1 if unit_of(measure) == "points" else 3


def gain_cell(gain: Gain | None, measure: Measure) -> Cell:
    """A gain with its interval; an arrow where that excludes zero."""
    if gain is None:
        return numeric(MISSING)
    tone: Tone = "better" if gain.low > 0 else "worse" if gain.high < 0 else ""
    return numeric(_ARROWS[tone] + signed(gain.value, measure), f"[{interval(gain, measure)}]", tone=tone)


def signed(value: float, measure: Measure) -> str:
    """A gain with its sign."""
    return number(value, decimals_of(measure), "+")


def interval(gain: Gain, measure: Measure) -> str:
    """The two ends."""
    return f"{signed(gain.low, measure)},\u00a0{signed(gain.high, measure)}"
