"""The trend page: how the scores of the last nights went, one page with the look of the report."""

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from cc_tuning.document.axes import add_legend, draw_lines, draw_svg
from cc_tuning.document.blocks import Cell, Document, Figure, Section, Table, number, numeric
from cc_tuning.document.page import render_page
from cc_tuning.document.writing import write_text
from cc_tuning.report.names import AVERAGE, OFF, TRANSFORM, benchmark_place, metric_label
from cc_tuning.report.nights.history import Night, nights_of

NIGHTS = 60
_COMMIT_DIGITS = 12


def write_trend(history: pl.DataFrame, recipe: str, page: Path) -> None:
    """Write the page of a recipe's last `NIGHTS` nights; `history` is the table of all, with at least one of it."""
    write_text(page, render_page(trend_document(history, recipe)))


def trend_document(history: pl.DataFrame, recipe: str) -> Document:
    """The last `NIGHTS` nights: a list of them, then for each benchmark its scores and likelihoods by night."""
    nights = nights_of(history, recipe)[:NIGHTS]
    dropped = sum(night.verdict == "dropped" for night in nights)
    shown = _averages(history, recipe, nights)
    benchmarks = sorted(shown["benchmark"].unique().to_list(), key=benchmark_place)
    return Document(
        title=f"Nights of {recipe}",
        summary=f"{len(nights)} nights, {nights[-1].date} to {nights[0].date}; {dropped} with a drop.",
        facts=[("Last night", nights[0].date), ("Verdict", nights[0].verdict), ("Commit", nights[0].commit)],
        sections=[
            *(_section(shown.filter(pl.col("benchmark") == name), name) for name in benchmarks),
            _list_of(nights),
        ],
    )


def _averages(history: pl.DataFrame, recipe: str, nights: Sequence[Night]) -> pl.DataFrame:
    kept = (
        (pl.col("recipe") == recipe)
        & pl.col("night").is_in([night.date for night in nights])
        & (pl.col("language") == AVERAGE)
    )
    texts = pl.col("connection", "benchmark").cast(pl.String)
    return history.filter(kept).with_columns(texts).sort("run", "connection", "night")


def _section(scores: pl.DataFrame, benchmark: str) -> Section:
    label = metric_label(str(scores["metric"][0]))
    blocks: list[Figure | Table] = [_figure(scores, benchmark, "value", f"{benchmark}, {label}", label)]
    if scores["gold_nll"].null_count() < scores.height:
        title = f"{benchmark}, how unlikely the gold answer is"
        blocks.append(_figure(scores, benchmark, "gold_nll", title, metric_label("gold_nll")))
    blocks.append(_table(scores, benchmark, label))
    return Section(benchmark.lower(), benchmark, blocks=blocks)


def _figure(scores: pl.DataFrame, benchmark: str, column: str, title: str, label: str) -> Figure:
    """A line for each run, through its matrix where it has one; a night without a score is left out."""
    lines = {run: _line(scores.filter(pl.col("run") == run), column) for run in scores["run"].unique().sort()}
    key = f"{benchmark.lower()}-{column.replace('_', '-')}"

    def draw(axes: Axes) -> None:
        for index, (run, (days, values)) in enumerate(lines.items()):
            draw_lines(axes, [(days, values)], run, index, marks=NIGHTS)
        locator = AutoDateLocator(minticks=2, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set(xlabel="night", ylabel=label)
        add_legend(axes)

    ends = "; ".join(f"{run} ends at {number(values[-1])}" for run, (_, values) in lines.items() if values)
    return Figure(key, title, f"Line chart by night: {ends}.", draw_svg(key, draw))


def _line(of_run: pl.DataFrame, column: str) -> tuple[list[float], list[float]]:
    chosen = TRANSFORM if TRANSFORM in of_run["connection"] else OFF
    rows = of_run.filter(pl.col("connection") == chosen).drop_nulls(column).sort("night")
    # matplotlib counts days from 1 January 1970.
    days = [float((date.fromisoformat(night) - date(1970, 1, 1)).days) for night in rows["night"]]
    return days, rows[column].to_list()


def _table(scores: pl.DataFrame, benchmark: str, label: str) -> Table:
    """A row for each night, the latest first; a column for each run and connection."""
    columns = scores.select("run", "connection").unique(maintain_order=True).rows()
    found = {(row["night"], row["run"], row["connection"]): row for row in scores.to_dicts()}
    nights = scores["night"].unique().sort(descending=True)
    return Table(
        key=f"nights-{benchmark.lower()}",
        title=f"{benchmark}, {label}, average over languages",
        columns=["night", *(run if connection == OFF else f"{run} ({connection})" for run, connection in columns)],
        rows=[[Cell(night), *(_score(found.get((night, *column))) for column in columns)] for night in nights],
        is_folded=True,
    )


def _score(row: dict[str, float] | None) -> Cell:
    if row is None:
        return numeric(number(None))
    low, high = row["ci_low"], row["ci_high"]
    return numeric(
        number(row["value"], 1), f"{number(low, 1)} to {number(high, 1)}", value=row["value"], bounds=(low, high)
    )


def _list_of(nights: Sequence[Night]) -> Section:
    rows = [
        [
            Cell(night.date), Cell(f"▼ {night.verdict}" if night.verdict == "dropped" else night.verdict,
                                   tone="worse" if night.verdict == "dropped" else ""),
            Cell(night.commit[:_COMMIT_DIGITS]), Cell(night.fingerprint[:_COMMIT_DIGITS]), Cell(night.flow_run),
        ]
        for night in nights
    ]  # fmt: skip
    changed = sum(1 for _ in groupby(night.fingerprint for night in nights)) - 1
    table = Table("nights", "All nights", ["night", "verdict", "commit", "recipe and code", "run"], rows)
    return Section("nights", "Nights", [f"Recipe or code changed {changed} times in these nights."], [table])
