"""The values that tables of scores are made of, and those that are computed from the scores of single items.

Of a family with several seeds, the score of an item is its mean over the seeds that ran, and the bootstrap draws items:
its interval tells how much the mean would move with other items. How much it moves with other seeds is told by the
values of the seeds themselves, which stand beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import polars as pl

from cc_tuning.evaluation.statistics import Resampled, paired_difference, resample
from cc_tuning.report.config import Family
from cc_tuning.report.names import AVERAGE

_ROUNDING = 1e-9
"""Means of scores carry rounding of about 1e-14; what is smaller than this is no difference."""
_ITEM = ["connection", "benchmark", "metric", "language", "item_id"]
_NO_ITEMS = pl.DataFrame(
    schema={"language": pl.String, "item_id": pl.String, "group": pl.String, "value": pl.Float64}
)  # fmt: skip

Group = str | None
"""A group of items, or None for all of them."""


@dataclass(frozen=True)
class Variant:
    """A family with one kind of connection: a row of the main table."""

    family: str
    connection: str


@dataclass(frozen=True)
class Measure:
    """A benchmark with one metric: a column of the main table."""

    benchmark: str
    metric: str


@dataclass(frozen=True)
class Estimate:
    """A score with its interval, 0 to 100; with several seeds, their mean."""

    value: float
    low: float
    high: float
    items: int
    by_seed: tuple[float, ...]
    """The value of each seed."""


@dataclass(frozen=True)
class Difference:
    """`minuend` minus `subtrahend` on the items that both answered, averaged over languages, in points."""

    minuend: Variant
    subtrahend: Variant
    value: float
    low: float
    high: float
    items: int
    by_seed: tuple[float, ...]
    """Of each seed; seed by seed where both have the same ones, otherwise each against the mean of the other side."""

    @property
    def seeds_that_agree(self) -> int:
        """How many seeds have a difference of the same sign as the mean."""
        return sum(sign(value) == sign(self.value) for value in self.by_seed)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; the settings of the evaluation stage."""

    samples: int
    confidence: float
    seed: int


def sign(points: float) -> int:
    """1, 0 or -1; 0 for what is rounding only."""
    return (points > _ROUNDING) - (points < -_ROUNDING)


class ItemScores:
    """The item scores of all evaluated runs, as they are and averaged over the seeds of a family."""

    def __init__(self, item_scores: pl.DataFrame, families: Sequence[Family], bootstrap: Bootstrap) -> None:
        self._families = {family.name: family for family in families}
        self._bootstrap = bootstrap
        self._of_runs = _by_measurement(item_scores)
        self._of_families = _by_measurement(_means_over_seeds(item_scores, families))
        self._resampled: dict[tuple[Variant, Measure, Group], Resampled] = {}

    def estimate(
        self, variant: Variant, measure: Measure, group: Group = None, language: str = AVERAGE
    ) -> Estimate | None:
        """The mean over items and seeds, of one language or averaged over languages; None without such items."""
        items = self._of_variant(variant, measure, group)
        if language != AVERAGE:
            items = items.filter(pl.col("language") == language)
        if not items.height:
            return None
        drawn, confidence = self._resample(variant, measure, group), self._bootstrap.confidence
        interval = drawn.average(confidence) if language == AVERAGE else drawn.interval(language, confidence)
        by_seed = [
            _average(of if language == AVERAGE else of.filter(pl.col("language") == language))
            for of in self._by_seed(variant, measure, group).values()
        ]
        return Estimate(interval.value, interval.low, interval.high, items.height, tuple(by_seed))

    def difference(self, minuend: Variant, subtrahend: Variant, measure: Measure, group: Group) -> Difference | None:
        """The paired difference of two variants; None when one was not measured or they share no item."""
        ours, theirs = (self._of_variant(variant, measure, group) for variant in (minuend, subtrahend))
        if not _shared(ours, theirs).height:
            return None
        settings = self._bootstrap
        paired = paired_difference(
            ours, theirs, samples=settings.samples, confidence=settings.confidence, seed=settings.seed
        )
        by_seed = [_average(_shared(a, b)) for a, b in self._seed_pairs(minuend, subtrahend, measure, group)]
        return Difference(minuend, subtrahend, paired.value, paired.low, paired.high, paired.items, tuple(by_seed))

    def _seed_pairs(
        self, minuend: Variant, subtrahend: Variant, measure: Measure, group: Group
    ) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
        """The items of both sides once for each seed; see `Difference.by_seed`."""
        ours, theirs = (self._by_seed(variant, measure, group) for variant in (minuend, subtrahend))
        if ours.keys() == theirs.keys():
            return [(items, theirs[seed]) for seed, items in ours.items()]
        if len(ours) > 1 or len(theirs) == 1:
            mean = self._of_variant(subtrahend, measure, group)
            return [(items, mean) for items in ours.values()]
        mean = self._of_variant(minuend, measure, group)
        return [(mean, items) for items in theirs.values()]

    def _resample(self, variant: Variant, measure: Measure, group: Group) -> Resampled:
        key = (variant, measure, group)
        if key not in self._resampled:
            items, settings = self._of_variant(*key), self._bootstrap
            self._resampled[key] = resample(items, samples=settings.samples, seed=settings.seed)
        return self._resampled[key]

    def _of_variant(self, variant: Variant, measure: Measure, group: Group) -> pl.DataFrame:
        return _items(self._of_families, variant.family, variant.connection, measure, group)

    def _by_seed(self, variant: Variant, measure: Measure, group: Group) -> dict[int | None, pl.DataFrame]:
        runs = self._families[variant.family].runs
        return {run.seed: _items(self._of_runs, run.name, variant.connection, measure, group) for run in runs}


def _means_over_seeds(item_scores: pl.DataFrame, families: Sequence[Family]) -> pl.DataFrame:
    """Item scores by family (in the column `run`): the mean over its seeds, of items that all of them answered."""
    if item_scores.is_empty():
        return item_scores
    named = item_scores.with_columns(
        pl.col("run").replace_strict({run.name: family.name for family in families for run in family.runs})
    )
    means = named.group_by("run", *_ITEM).agg(pl.col("group").first(), pl.col("value").mean(), answered=pl.len())
    seeds = pl.col("run").replace_strict({family.name: family.seeds for family in families})
    return means.filter(pl.col("answered") == seeds).sort("run", *_ITEM)


def _by_measurement(item_scores: pl.DataFrame) -> Mapping[tuple[Any, ...], pl.DataFrame]:
    """Item scores by (run or family, connection, benchmark, metric)."""
    return item_scores.partition_by("run", "connection", "benchmark", "metric", as_dict=True)


def _items(
    scores: Mapping[tuple[Any, ...], pl.DataFrame], owner: str, connection: str, measure: Measure, group: Group
) -> pl.DataFrame:
    items = scores.get((owner, connection, measure.benchmark, measure.metric), _NO_ITEMS)
    return items if group is None else items.filter(pl.col("group") == group)


def _shared(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """`ours` minus `theirs` on the items of both."""
    both = ours.join(theirs, on=["language", "item_id"], how="inner", suffix="_theirs")
    return both.select("language", "item_id", value=pl.col("value") - pl.col("value_theirs"))


def _average(items: pl.DataFrame) -> float:
    """The mean over languages of the mean over items; not a number where there are none."""
    means = items.group_by("language").agg(pl.col("value").mean()).sort("language")["value"].to_list()
    return fmean(means) if means else float("nan")
