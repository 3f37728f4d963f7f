"""What the command line shows of a recipe: its state, its scores. (Its plan: `plan_table.py`.)"""

from typing import Any

import polars as pl
from rich.table import Table

from cc_tuning.evaluation.benchmark import ACCURACY
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.pipeline.plan import Plan
from data_contracts.errors import ArtifactMismatch, MadeByLaterVersion, StoreUnavailable
from data_contracts.layout import SCORES
from data_contracts.parquet import read_parquet
from data_contracts.schemas import Score
from data_contracts.store import ArtifactRef, ArtifactStore
from flows.terminal import console, escaped

IN_MIRROR = "in the mirror"


def show_status(plan: Plan, store: ArtifactStore, in_mirror: frozenset[ArtifactRef] = frozenset()) -> None:
    """One line per step: what is there or `in_mirror`, when it was made, and its row counts."""
    table = Table("stage", "fingerprint", "state", "finished", "seconds", "rows", box=None, pad_edge=False)
    damages = []
    for step in plan:
        if not store.is_there(step.ref):
            missing = "started" if store.has_partial(step.ref) else "missing"
            state = IN_MIRROR if step.ref in in_mirror else missing
            table.add_row(escaped(step.label), step.fingerprint[:12], state, "", "", "")
            continue
        try:
            manifest = store.verify(step.ref)
        except ArtifactMismatch as mismatch:
            table.add_row(escaped(step.label), step.fingerprint[:12], "[red]damaged", "", "", "")
            damages.append(f"{step.label}: {mismatch}")
            continue
        except (MadeByLaterVersion, StoreUnavailable) as unreadable:
            table.add_row(escaped(step.label), step.fingerprint[:12], "[red]unreadable", "", "", "")
            damages.append(f"{step.label}: {unreadable}")
            continue
        seconds = f"{manifest.seconds:,.1f}"
        table.add_row(
            escaped(step.label),
            step.fingerprint[:12],
            "whole",
            escaped(manifest.finished_at),
            seconds,
            escaped(str(manifest.rows)),
        )
    console.print(table)
    for damage in damages:
        console.print(f"[red]{escaped(damage)}[/]", soft_wrap=True)


def show_scores(plan: Plan, store: ArtifactStore) -> None:
    """The results: a row per run and connection, a column per benchmark, averages over languages."""
    scores = pl.concat(
        read_parquet(store.path(run.evaluate.ref) / SCORES, Score).filter(pl.col("language") == "avg")
        for run in plan.runs
    )
    shown = [name for name in BENCHMARKS if name in scores["benchmark"].cast(pl.String).to_list()]
    table = Table("run", "connection", *shown, box=None, pad_edge=False)
    for (run, connection), group in scores.group_by("run", "connection", maintain_order=True):
        cells = []
        for benchmark in shown:
            headline = BENCHMARKS[benchmark].headline_metric.name
            rows = group.filter((pl.col("benchmark") == benchmark) & (pl.col("metric") == headline))
            cells.append(_cell(rows.row(0, named=True)) if rows.height else "")
        if any(cells):  # the controls of a connection have likelihoods alone
            table.add_row(escaped(str(run)), str(connection), *cells)
    console.print(table)
    confidence = plan.recipe.evaluation.confidence
    other = [f"{name} is {metric.label}" for name in shown if (metric := BENCHMARKS[name].headline_metric) != ACCURACY]
    ending = f"; {', '.join(other)}." if other else "."
    console.print(f"Averages over languages, 0 to 100, with {confidence:.0%} bootstrap intervals{ending}")


def _cell(row: dict[str, Any]) -> str:
    return f"{row['value']:.1f}\n{row['ci_low']:.1f}–{row['ci_high']:.1f}"
