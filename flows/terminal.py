"""What the command line shows: plans, states, score tables, errors."""

import logging
import sys
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from cc_tuning.errors import CcTuningError
from cc_tuning.pipeline.estimates import Estimate, readable_bytes
from cc_tuning.pipeline.places import MISSING
from cc_tuning.pipeline.plan import Plan
from cc_tuning.runtime.sources import LocalSource, Source
from cc_tuning.runtime.step import find_cached
from data_contracts.errors import ArtifactMismatch, DataContractError
from data_contracts.parquet import read_parquet
from data_contracts.schemas import BENCHMARKS, Score
from data_contracts.store import ArtifactStore

_PLAIN_WIDTH = 110  # columns in a file or a pipe, where rich would assume 80

console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
error_console = Console(stderr=True, highlight=False)


def show_plan(plan: Plan, store: ArtifactStore, estimates: dict[str, Estimate]) -> None:
    """One line per step: fingerprint, hit or miss, and what it will take."""
    table = Table("stage", "fingerprint", "store", "rows", "tokens", "disk", box=None, pad_edge=False)
    for step in plan:
        estimate = estimates[step.fingerprint]
        hit = "hit" if find_cached(step, store) else "miss"
        table.add_row(
            step.label, step.fingerprint[:12], hit, estimate.rows_text, estimate.tokens_text, estimate.disk_text
        )
    console.print(table)
    disk = [estimate.disk_bytes for estimate in estimates.values()]
    known = readable_bytes(sum(size for size in disk if size is not None))
    unknown = sum(size is None for size in disk)
    console.print(f"\nAbout {known} of disk in {store.root}" + (f", and {unknown} stages unknown." if unknown else "."))
    for source in sorted({_missing_path(source) for step in plan for source in step.inputs.values()} - {""}):
        console.print(f"[yellow]{source} is not there yet;[/] fingerprints that depend on it will change.")
    console.print("Rows, tokens and disk are estimates (cc_tuning/pipeline/estimates.py says how); ~ marks them.")


def show_status(plan: Plan, store: ArtifactStore) -> None:
    """One line per step: what is there, when it was made, and its row counts."""
    table = Table("stage", "fingerprint", "state", "finished", "seconds", "rows", box=None, pad_edge=False)
    damages = []
    for step in plan:
        if not store.folder(step.ref).is_dir():
            started = store.has_partial(step.ref)
            table.add_row(step.label, step.fingerprint[:12], "started" if started else "missing", "", "", "")
            continue
        try:
            manifest = store.verify(step.ref)
        except ArtifactMismatch as mismatch:
            table.add_row(step.label, step.fingerprint[:12], "[red]damaged", "", "", "")
            damages.append(f"{step.label}: {mismatch}")
            continue
        seconds = f"{manifest.seconds:,.1f}"
        table.add_row(step.label, step.fingerprint[:12], "whole", manifest.finished_at, seconds, str(manifest.rows))
    console.print(table)
    for damage in damages:
        console.print(f"[red]{_escaped(damage)}[/]", soft_wrap=True)


def show_scores(plan: Plan, store: ArtifactStore) -> None:
    """The results: a row per run and connection, a column per benchmark, averages over languages."""
    scores = pl.concat(
        read_parquet(store.path(run.evaluate.ref) / "scores.parquet", Score).filter(pl.col("language") == "avg")
        for run in plan.runs
    )
    shown = [name for name in BENCHMARKS if name in scores["benchmark"].cast(pl.String).to_list()]
    table = Table("run", "connection", *shown, box=None, pad_edge=False)
    for (run, connection), group in scores.group_by("run", "connection", maintain_order=True):
        cells = []
        for benchmark in shown:
            rows = group.filter((pl.col("benchmark") == benchmark) & (pl.col("metric") != "rougeL_ascii"))
            cells.append(_cell(rows.row(0, named=True)) if rows.height else "")
        table.add_row(str(run), str(connection), *cells)
    console.print(table)
    confidence = plan.recipe.evaluation.confidence
    console.print(f"Averages over languages, 0 to 100, with {confidence:.0%} bootstrap intervals; XLSum is ROUGE-L.")


def show_error(error: Exception) -> None:
    """One red line."""
    error_console.print(f"[bold red]error:[/] {_escaped(str(error))}", soft_wrap=True)


def log_to_terminal(debug: bool) -> None:
    """Library logs on standard error, one dense line each, and no bars between them."""
    disable_progress_bar()
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(asctime)s | %(message)s")
    for name in ("cc_tuning", "data_contracts"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)


class WithoutTraceback(logging.Filter):
    """Takes the traceback off a logged mistake of the user's: its message says what to do, the traceback does not."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, CcTuningError | DataContractError):
            record.exc_info = None
        return True


def _missing_path(source: Source) -> str:
    return str(source.path) if isinstance(source, LocalSource) and source.sha256 == MISSING else ""


def _cell(row: dict[str, Any]) -> str:
    return f"{row['value']:.1f}\n{row['ci_low']:.1f}–{row['ci_high']:.1f}"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
