"""What a kind of connection is worth: its gain over another kind, with the same checkpoint on the same items.

A gain is in the metric's unit and positive where it helps, whichever way the metric runs:

    gain(a, b) = s · mean over languages of mean over items of (y_a − y_b),    s = −1 where lower is better, else 1

Items are those that every kind answered. They are resampled once for all kinds together, a source item with all its
languages (and all items that share its cluster) at a time, so the covariance between two gains is kept. From it comes
the share of one gain in another,

    share = gain(part, base) / gain(whole, base),

whose interval is Fieller's: all r for which `gain(part, base) − r · gain(whole, base)` may be zero (E. C. Fieller 1954,
*Some problems in interval estimation*, J. R. Stat. Soc. B 16(2)). It is bounded only where the whole gain itself is
clear of zero; otherwise there is no share to speak of, and none is given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cc_tuning.evaluation.benchmark import METRICS
from cc_tuning.evaluation.statistics import Resampled, resample
from cc_tuning.report.config import Family
from cc_tuning.report.names import AVERAGE
from cc_tuning.report.scores import Bootstrap, Measure

Floats = NDArray[np.float64]

_KEY = ["language", "item_id"]
_APART = "\x1f"
"""Between a connection and a language in the name of a column that is resampled; in neither of them."""


@dataclass(frozen=True)
class Gain:
    """A gain with its interval; positive helps."""

    value: float
    low: float
    high: float
    items: int
    """(language, item) cells compared."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Share:
    """How much of one gain another one reaches; 1 is all of it."""

    value: float
    low: float
    high: float


class ConnectionScores:
    """One family's scores under several kinds of connection, on the items that all of them have."""

    def __init__(
        self, item_scores: pl.DataFrame, family: Family, measure: Measure, connections: Sequence[str],
        bootstrap: Bootstrap,
    ) -> None:  # fmt: skip
        """`item_scores`: ItemScore rows of all runs; with several seeds, an item's score is its mean over them."""
        self.measure = measure
        self.connections = tuple(connections)
        self._bootstrap = bootstrap
        self._direction = -1.0 if is_lower_better(measure.metric) else 1.0
        self._rows = _shared_rows(item_scores, family, measure, self.connections)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Of the shared items: English first, then by code."""
        return tuple(sorted(self._rows["language"].unique(), key=lambda language: (language != "en", language)))

    def items(self, language: str = AVERAGE) -> int:
        """How many (language, item) cells all kinds have."""
        rows = self._rows if language == AVERAGE else self._rows.filter(pl.col("language") == language)
        return rows.height

    def gain(self, connection: str, over: str, language: str = AVERAGE) -> Gain:
        """What `connection` gains over another kind, in one language or averaged over languages."""
        value, replicates = self._difference(connection, over, language)
        tail = 100 * (1 - self._bootstrap.confidence) / 2
        low, high = np.percentile(replicates, [tail, 100 - tail])
        return Gain(value, float(low), float(high), self.items(language))

    def share(self, part: str, whole: str, base: str) -> Share | None:
        """`gain(part, base) / gain(whole, base)`; None where the whole gain is not clearly different from zero."""
        if not self.gain(whole, base).is_clear:
            return None
        (a, drawn_a), (b, drawn_b) = (self._difference(each, base, AVERAGE) for each in (part, whole))
        return fieller(a, b, np.cov(drawn_a, drawn_b), self._bootstrap.confidence)

    def _difference(self, connection: str, over: str, language: str) -> tuple[float, Floats]:
        """The difference and its replicates `[samples]`, in the direction that helps."""
        drawn = self._resampled
        languages = self.languages if language == AVERAGE else (language,)
        places = [[drawn.languages.index(f"{kind}{_APART}{at}") for at in languages] for kind in (connection, over)]
        means, replicates = self._direction * drawn.means, self._direction * drawn.replicates
        ours, theirs = (means[at].mean() for at in places)
        drawn_ours, drawn_theirs = (replicates[:, at].mean(axis=1) for at in places)
        return float(ours - theirs), drawn_ours - drawn_theirs

    @cached_property
    def _resampled(self) -> Resampled:
        """All kinds in one resample: a column for each kind and language."""
        long = self._rows.unpivot(on=self.connections, index=[*_KEY, "cluster"], variable_name="connection")
        columns = long.with_columns(language=pl.concat_str("connection", "language", separator=_APART))
        return resample(columns.drop("connection"), samples=self._bootstrap.samples, seed=self._bootstrap.seed)


def fieller(part: float, whole: float, covariance: Floats, confidence: float) -> Share | None:
    """The ratio `part / whole` of two means with its interval; None where it would have no end.

    `covariance [2, 2]` is that of the two means. The ends are the roots r of
    `(part − r·whole)² = z² (v_pp − 2 r v_pw + r² v_ww)`.
    """
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    (v_pp, v_pw), (_, v_ww) = covariance
    square, half, constant = whole**2 - z2 * v_ww, part * whole - z2 * v_pw, part**2 - z2 * v_pp
    if not square > 0:
        return None
    # the discriminant of a covariance matrix is never negative here but for rounding
    spread = math.sqrt(max(half**2 - square * constant, 0.0))
    return Share(part / whole, (half - spread) / square, (half + spread) / square)


def is_lower_better(metric: str) -> bool:
    """Whether a smaller figure of a metric is the better one; a metric that no benchmark declares runs upwards."""
    return metric in METRICS and not METRICS[metric].is_higher_better


def _shared_rows(
    item_scores: pl.DataFrame, family: Family, measure: Measure, connections: Sequence[str]
) -> pl.DataFrame:
    """A row for each (language, item) that all runs and kinds have: its keys, its cluster, and each kind's score."""
    runs = [run.name for run in family.runs]
    rows = item_scores.filter(
        pl.col("run").is_in(runs),
        pl.col("connection").is_in(connections),
        pl.col("benchmark") == measure.benchmark,
        pl.col("metric") == measure.metric,
    )
    means = rows.group_by("connection", *_KEY).agg(
        pl.col("value").mean(), pl.col("cluster").first(), answered=pl.col("run").n_unique()
    )
    whole = means.filter(pl.col("answered") == len(runs))
    clusters = whole.group_by(_KEY).agg(pl.col("cluster").drop_nulls().first())
    wide = whole.pivot("connection", index=_KEY, values="value")
    missing = [pl.lit(None, pl.Float64).alias(name) for name in connections if name not in wide.columns]
    shared = wide.with_columns(missing).drop_nulls(connections)
    return shared.join(clusters, on=_KEY, how="left").select(*_KEY, "cluster", *connections).sort(_KEY)
