"""What Prefect shows of a step: its progress, its row counts, and more of the stages that have figures."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

import polars as pl
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from cc_tuning.runtime.progress import Progress, throttled
from cc_tuning.runtime.step import Step
from data_contracts.files import read_json
from data_contracts.layout import DIAGNOSTICS, REPORT_MARKDOWN, SCORES
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet
from data_contracts.schemas import Score

SECONDS_BETWEEN_UPDATES = 10.0


def prefect_progress(step: Step) -> Progress:
    """A listener that moves a progress artifact and logs one line, both at most once per interval."""
    run_logger = get_run_logger()
    artifact: UUID | None = None
    share = 0.0

    def tell(line: str) -> None:
        nonlocal artifact
        run_logger.info("%s | %s", step.label, line)
        if artifact is None:
            created = create_progress_artifact(
                progress=share, key=artifact_key(step, "progress"), description=step.label
            )
            assert isinstance(created, UUID)  # the synchronous form returns the id itself
            artifact = created
        else:
            update_progress_artifact(artifact_id=artifact, progress=share)

    log = throttled(tell, SECONDS_BETWEEN_UPDATES)

    def progress(done: int, total: int, unit: str, detail: str = "") -> None:
        nonlocal share
        share = 100.0 * done / max(total, 1)
        log(done, total, unit, detail)

    return progress


def show_rows(step: Step, rows: RowCounts) -> None:
    """A table of what was read, kept and set aside, by rule."""
    counts = {"read": rows.read, "kept": rows.kept, "not selected": rows.not_selected, **rows.quarantined}
    table: list[dict[str, object]] = [{"what": name, "rows": count} for name, count in counts.items()]
    create_table_artifact(key=artifact_key(step, "rows"), table=table, description=f"Rows of {step.label}")


def _show_scores(step: Step, folder: Path) -> None:
    scores = read_parquet(folder / SCORES, Score)
    averages = scores.filter(pl.col("language") == "avg").select(
        "benchmark", "connection", "metric", "items", "value", "ci_low", "ci_high"
    )
    description = f"Averages over languages: {step.label}"
    create_table_artifact(key=artifact_key(step, "scores"), table=averages.to_dicts(), description=description)


def _show_diagnostics(step: Step, folder: Path) -> None:
    diagnostics = read_json(folder / DIAGNOSTICS)
    table = [{"what": name, "value": value} for name, value in diagnostics.items() if isinstance(value, int | float)]
    description = f"How well the Transform Matrix fits: {step.label}"
    create_table_artifact(key=artifact_key(step, "diagnostics"), table=table, description=description)


def _show_report(_step: Step, folder: Path) -> None:
    markdown = (folder / REPORT_MARKDOWN).read_text(encoding="utf-8")
    create_markdown_artifact(markdown, key="report", description="Scores, intervals and diagnostics")


SHOWN: Mapping[str, Callable[[Step, Path], None]] = {
    "evaluate": _show_scores,
    "transform": _show_diagnostics,
    "report": _show_report,
}
"""By stage, what is shown of an artifact's folder beside its row counts."""


def artifact_key(step: Step, what: str) -> str:
    """The key under which Prefect keeps `what` of a step, the same in every run."""
    # Prefect's artifact keys take lower-case letters, digits and dashes only.
    return re.sub(r"[^a-z0-9]+", "-", f"{step.label}-{what}".lower().replace("+", "-plus-"))
