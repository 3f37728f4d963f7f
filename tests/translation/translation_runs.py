"""Rows for the tiny translator, and the stage run on them."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import Progress, no_progress
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.stage_table import SELECT, TRANSLATE
from cc_tuning.runtime.step import Outcome, run_step
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.translation.config import TranslationConfig
from data_contracts.store import ArtifactStore

CONFIG = TranslationConfig(beams=1, max_new_tokens=24)
ROWS, SEGMENTS = "*-????????.parquet", "*.segments.parquet"
"""A shard's two files."""
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")


def row(inputs: str, targets: str, code: str, **more: Any) -> dict[str, Any]:
    return {"inputs": inputs, "targets": targets, "language_code": code} | more


def rows_of(number: int) -> list[dict[str, Any]]:
    """Rows that differ, in two languages, with segments that the tiny translator knows."""
    return [row(f"La casa es roja.\n{index}", "El gato come pan.", "spa") for index in range(number)] + [
        row(f"Nyumba ni nyekundu.\n{index}", "Mbwa anakunywa maji.", "swh") for index in range(number // 2)
    ]


def rows_with_own_segments(number: int) -> list[dict[str, Any]]:
    """Rows that each bring something to decode, and share a sentence."""
    return [
        row(f"El perro bebe agua {index}.\nLa casa es roja.", f"Hola, Ana {index}.", "spa") for index in range(number)
    ] + [row(f"Mbwa anakunywa maji {index}.", "Nyumba ni nyekundu.", "swh") for index in range(number // 2)]


def files_of(artifact: Path) -> dict[str, bytes]:
    """Every file of an artifact but its manifest, which holds times."""
    files = (path for path in artifact.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(artifact).as_posix(): path.read_bytes() for path in files}


def translate(
    folder: Path,
    rows: list[dict[str, Any]],
    model: Path,
    shard_rows: int = 4,
    config: TranslationConfig = CONFIG,
    progress: Progress = no_progress,
    **execution: Any,
) -> tuple[Outcome, Path]:
    """Select all rows and translate them; the outcome and the artifact's folder."""
    folder.mkdir(exist_ok=True)
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    store = ArtifactStore(folder / "store")
    places = Execution(threads=1, device="cpu", translation_shard_rows=shard_rows, **execution)
    rows_file = LocalSource.of(source)
    select = SELECT.step(SelectionConfig(decontamination="none"), source=rows_file)
    run_step(select, store, places, no_progress)
    step = TRANSLATE.step(config, rows=select.ref, translator=LocalSource.of(model))
    outcome = run_step(step, store, places, progress)
    return outcome, store.folder(outcome.ref)
