"""Two reports held against each other: what changed from the first to the second, and what of it is no chance.

Runs are paired by name and connection, items by benchmark, language and id; what only one of the two has is counted and
left out. Every comparison counts in the adjustment for several (Holm 1979): where nothing has changed, the chance that
a gate finds any drop is at most the rest of the confidence, however many runs, benchmarks and metrics there are.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.scales import scale_of
from cc_tuning.evaluation.statistics.differences import Difference, differences_of
from cc_tuning.evaluation.statistics.intervals import DEFAULTS, Bounds, Settings
from cc_tuning.evaluation.statistics.tables import ScoreTable, score_table
from cc_tuning.evaluation.statistics.units import Floats, average_sample
from cc_tuning.report.names import benchmark_place, metric_place
from cc_tuning.report.scores import Comparison, Measure, Variant
from cc_tuning.report.sentences import plain_name, sentence
from cc_tuning.report.verdicts import adjusted_for_all, verdict_of
from data_contracts.layout import REPORT_ITEM_SCORES, REPORT_PAGE
from data_contracts.parquet_stream import read_batches
from data_contracts.schemas import ItemScore

SENSITIVE = "gold_nll"
"""Moves with every item, and so shows what right and wrong at these sizes cannot."""
_BATCH_ROWS = 100_000
_NAMES = ("first", "second")
_MEASURED = ("run", "connection", "benchmark", "metric")


@dataclass(frozen=True)
class Change:
    """One run and connection under one measure: the second report minus the first, on the items of both."""

    run: str
    connection: str
    comparison: Comparison
    first: float
    """The mean in the first report, of the items that both have."""
    second: float
    only_first: int
    """(language, item) cells that the second report lacks."""
    only_second: int

    @property
    def sentence(self) -> str:
        """What changed, in plain words."""
        return sentence(self.comparison, plain_name)


@dataclass(frozen=True)
class ReportComparison:
    """All changes between two reports."""

    changes: tuple[Change, ...]
    only_first: tuple[str, ...]
    """Runs, connections, benchmarks and metrics that the second report lacks, in words."""
    only_second: tuple[str, ...]

    @property
    def significant(self) -> tuple[Change, ...]:
        """Those that are no chance."""
        return tuple(change for change in self.changes if change.comparison.verdict != "undecided")

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Those to the worse that are no chance."""
        return tuple(change for change in self.changes if change.comparison.verdict == "worse")

    @property
    def is_something_missing(self) -> bool:
        """Whether the first report has scores that the second lacks: a run or benchmark gone hides a drop."""
        return bool(self.only_first) or any(change.only_first for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "changes": [_change_as_json(change) for change in self.changes],
            "regressions": len(self.regressions),
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
        }


def compare_reports(
    first: Path, second: Path, metrics: Collection[str] = (), settings: Settings = DEFAULTS
) -> ReportComparison:
    """What changed from the report in the folder `first` to that in `second`.

    Without `metrics`, the headline metric of each benchmark and the likelihood of the gold answer are compared.

    Raises:
        ConfigError: a folder is no report or has no scores of single items, a metric is in neither, or the two share
            no run, measure or item.
        ArtifactMismatch: the scores are damaged.
        ContractViolation: the scores do not keep their contract.
    """
    known: set[str] = set()
    chosen = [_read(folder, name, metrics, known) for folder, name in zip((first, second), _NAMES, strict=True)]
    if unknown := sorted(set(metrics) - known):
        raise ConfigError(f"neither report has the metric {', '.join(unknown)}; they have {', '.join(sorted(known))}")
    measured = [set(scores.select(_MEASURED).unique().rows()) for scores in chosen]
    if not any(measured):
        raise ConfigError(
            f"{first} and {second} have neither a headline metric nor {SENSITIVE}; they have "
            f"{', '.join(sorted(known))}: name what to compare, --metric {min(known)}"
        )
    if not measured[0] & measured[1]:
        raise ConfigError(
            f"{first} and {second} have no run, connection, benchmark and metric in common: the first has "
            f"{_in_words(measured[0])}, the second {_in_words(measured[1])}; compare reports of the same recipe"
        )
    scores = pl.concat(chosen)
    changes: list[Change] = []
    for (benchmark,), of_benchmark in scores.group_by("benchmark"):
        shared = [key for key in measured[0] & measured[1] if key[2] == benchmark]
        table = score_table(of_benchmark, ("report", "run", "connection", "metric"))
        for bounds in {scale_of(key[3]).bounds for key in shared}:
            asked = sorted(key for key in shared if scale_of(key[3]).bounds == bounds)
            changes += _changes(table, asked, bounds, settings)
    if not changes:
        raise ConfigError(
            f"{first} and {second} share no item: their runs answered other benchmarks, languages or items; compare "
            "reports that were evaluated on the same ones"
        )
    return ReportComparison(
        _judged(changes, settings.confidence), _lacking(measured[0] - measured[1]), _lacking(measured[1] - measured[0])
    )


def _read(folder: Path, name: str, metrics: Collection[str], known: set[str]) -> pl.DataFrame:
    """The item scores of a report under the chosen metrics, batch by batch; all its metrics are added to `known`.

    The folder is that of the report, or that of a recipe with a report inside.
    """
    found = next((at for at in (folder, folder / "report") if (at / REPORT_PAGE).is_file()), None)
    if found is None:
        raise ConfigError(f"{folder} is no report: it has no {REPORT_PAGE}; give a folder such as runs/NAME/report")
    path = found / REPORT_ITEM_SCORES
    if not path.is_file():
        raise ConfigError(
            f"{found} has no {REPORT_ITEM_SCORES}, which reports of an older version lack; make the report again with "
            "`cc-tuning report RECIPE --again`"
        )
    kept = []
    for batch in read_batches(path, ItemScore, _BATCH_ROWS):
        known |= set(batch["metric"].unique())
        texts = pl.col(pl.String, pl.Enum).cast(pl.Categorical)  # millions of rows repeat a few thousand names
        kept.append(_with_metrics(batch.with_columns(pl.col("benchmark").cast(pl.String)), metrics).with_columns(texts))
    if not kept:
        raise ConfigError(f"{path} holds no scores: no run of this report was evaluated; evaluate one and report again")
    return pl.concat(kept).with_columns(report=pl.lit(name, dtype=pl.Categorical))


def _with_metrics(scores: pl.DataFrame, metrics: Collection[str]) -> pl.DataFrame:
    if metrics:
        return scores.filter(pl.col("metric").is_in(sorted(metrics)))
    headline = pl.DataFrame(
        [(name, benchmark.headline_metric.name) for name, benchmark in BENCHMARKS.items()],
        schema=["benchmark", "metric"], orient="row",
    )  # fmt: skip
    is_headline = pl.struct("benchmark", "metric").is_in(headline.select(pl.struct("benchmark", "metric")).to_series())
    return scores.filter(is_headline | (pl.col("metric") == SENSITIVE))


def _changes(
    table: ScoreTable, keys: Sequence[tuple[str, ...]], bounds: Bounds | None, settings: Settings
) -> Iterator[Change]:
    before, after = (
        np.stack([table.column((name, run, connection, metric)) for run, connection, _, metric in keys], axis=1)
        for name in _NAMES
    )
    found = differences_of(after, before, table.cells, bounds=bounds, settings=settings)
    has_both = ~np.isnan(before) & ~np.isnan(after)
    means = [average_sample(np.where(has_both, values, np.nan), table.cells).value for values in (before, after)]
    for at, (key, difference) in enumerate(zip(keys, found, strict=True)):
        if difference is not None:
            run, connection, benchmark, metric = key
            yield Change(
                run, connection, _comparison(run, connection, Measure(benchmark, metric), difference, settings),
                float(means[0][at]), float(means[1][at]),
                _only(before[:, at], after[:, at]), _only(after[:, at], before[:, at]),
            )  # fmt: skip


def _comparison(run: str, connection: str, measure: Measure, difference: Difference, settings: Settings) -> Comparison:
    sides = (Variant(f"{run} of the {name} report", connection) for name in reversed(_NAMES))
    return Comparison(
        minuend=next(sides), subtrahend=next(sides), measure=measure,
        value=difference.value, low=difference.low, high=difference.high,
        p=difference.p, p_items=difference.p, p_holm=difference.p,
        items=difference.items, languages=difference.languages, clusters=difference.units,
        unmatched=difference.unmatched, confidence=settings.confidence,
        smallest_showable=difference.smallest_showable(settings.confidence), by_seed=(difference.value,),
        verdict=verdict_of(measure, difference, difference.p, settings.confidence),
    )  # fmt: skip


def _judged(changes: Sequence[Change], confidence: float) -> tuple[Change, ...]:
    """All of them by p values that are adjusted for all, in the order of the page."""
    adjusted = adjusted_for_all([change.comparison for change in changes], confidence)
    judged = [replace(change, comparison=found) for change, found in zip(changes, adjusted, strict=True)]
    return tuple(sorted(judged, key=_place))


def _place(change: Change) -> tuple[Any, ...]:
    measure = change.comparison.measure
    return change.run, change.connection, benchmark_place(measure.benchmark), metric_place(measure.metric)


def _only(ours: Floats, theirs: Floats) -> int:
    return int((~np.isnan(ours) & np.isnan(theirs)).sum())


def _lacking(keys: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(" ".join(key) for key in sorted(keys))


def _in_words(keys: Collection[tuple[str, ...]]) -> str:
    named = _lacking(keys)
    return f"{', '.join(named[:3])}{f' and {len(named) - 3} more' if len(named) > 3 else ''}" or "none"


def _change_as_json(change: Change) -> Mapping[str, Any]:
    found = change.comparison
    return {
        "run": change.run, "connection": change.connection,
        "benchmark": found.measure.benchmark, "metric": found.measure.metric,
        "first": change.first, "second": change.second, "difference": found.value, "low": found.low, "high": found.high,
        "p": found.p, "p_holm": found.p_holm, "verdict": found.verdict, "smallest_showable": found.smallest_showable,
        "items": found.items, "clusters": found.clusters,
        "only_first": change.only_first, "only_second": change.only_second, "sentence": change.sentence,
    }  # fmt: skip
