"""The answers of all runs beside what was asked and what is expected, one benchmark and language at a time.

A full report has more than a million answers and as many prompts of several kilobytes; joined at once they would not
fit in memory, and a benchmark's items in one language do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cc_tuning.report.names import benchmark_place, is_headline
from cc_tuning.report.run_evidence import RunEvidence
from data_contracts.parquet_stream import written_in_batches
from data_contracts.schemas import ReportedAnswer

GOLD_NLL = "gold_nll"
_CELL = ["benchmark", "language"]
_ANSWER = ["run", "connection", "item_id"]
_NO_ITEMS = pl.DataFrame(
    schema={"item_id": pl.String, "prompt": pl.String, "prompt_en": pl.String, "answers": pl.List(pl.String)}
)
_NO_SCORES = pl.DataFrame(schema={**dict.fromkeys((*_ANSWER, "metric"), pl.String), "value": pl.Float64})

_Parts = Mapping[tuple[Any, ...], pl.DataFrame]
"""By benchmark and language."""


@dataclass(frozen=True)
class Answers:
    """All answers of a report; `of` joins those of one benchmark and language."""

    cells: tuple[tuple[str, str], ...]
    """The benchmarks in their order, each with its languages."""
    items: _Parts
    responses: Sequence[_Parts]
    """Of each run."""
    scores: _Parts

    def item_ids(self, benchmark: str, language: str) -> list[str]:
        """The items that some run answered, sorted."""
        found = [parts[benchmark, language]["item_id"] for parts in self.responses if (benchmark, language) in parts]
        return pl.concat(found).unique().sort().to_list()

    def of(self, benchmark: str, language: str) -> pl.DataFrame:
        """ReportedAnswer rows, sorted by item, run and connection."""
        cell = (benchmark, language)
        responses = pl.concat([_plain(parts[cell]) for parts in self.responses if cell in parts])
        items, scores = _plain(self.items.get(cell, _NO_ITEMS)), _plain(self.scores.get(cell, _NO_SCORES))
        joined = responses.join(items.select(_NO_ITEMS.columns), on="item_id", how="left", validate="m:1")
        headline = _headline_of(benchmark, scores)
        for values in (
            headline.select(*_ANSWER, "metric", score="value"),
            scores.filter(metric=GOLD_NLL).select(*_ANSWER, gold_nll="value"),
        ):
            joined = joined.join(values, on=_ANSWER, how="left", validate="1:1")
        return joined.select(ReportedAnswer.column_names()).sort("item_id", "run", "connection")


def read_answers(runs: Sequence[RunEvidence], items: pl.DataFrame | None, item_scores: pl.DataFrame) -> Answers | None:
    """The answers of all runs; None when no run has any.

    Args:
        items: BenchmarkItem rows; None when they were not given.
        item_scores: ItemScore rows of all runs.
    """
    responses = [_parts(run.predictions) for run in runs if run.predictions is not None]
    cells = {cell for parts in responses for cell in parts}
    if not cells:
        return None
    shown = [
        {"benchmark": benchmark, "metric": metric}
        for benchmark, metric in item_scores.select("benchmark", "metric").unique().iter_rows()
        if metric == GOLD_NLL or is_headline(benchmark, metric)
    ]
    wanted = pl.DataFrame(shown, schema={"benchmark": pl.Categorical, "metric": pl.Categorical})
    return Answers(
        cells=tuple(sorted(cells, key=lambda cell: (benchmark_place(cell[0]), cell[1] != "en", cell[1]))),
        items=_parts(items) if items is not None else {},
        responses=responses,
        scores=_parts(
            item_scores.select(*_CELL, *_ANSWER, "metric", "value").join(wanted, on=["benchmark", "metric"], how="semi")
        ),
    )


def answer_batches(answers: Answers) -> Iterator[pl.DataFrame]:
    """ReportedAnswer rows of one benchmark and language after the other."""
    for cell in answers.cells:
        yield answers.of(*cell)


def write_answers(answers: Answers, path: Path) -> None:
    """Write all answers to one file.

    Raises:
        ContractViolation: a row breaks ReportedAnswer.
    """
    with written_in_batches(path, ReportedAnswer) as stream:
        for batch in answer_batches(answers):
            stream.write(batch)


def _parts(frame: pl.DataFrame) -> _Parts:
    return frame.partition_by(_CELL, as_dict=True)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with plain texts: categories of separate files cannot be joined, and those of all rows would not fit."""
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


def _headline_of(benchmark: str, scores: pl.DataFrame) -> pl.DataFrame:
    """One score for each answer; of a benchmark that nobody knows, the first of its headline metrics."""
    metrics = sorted(metric for metric in scores["metric"].unique() if is_headline(benchmark, metric))
    return scores.filter(metric=metrics[0] if metrics else "")
