"""selection.json: every row of the source in exactly one place, counted by language."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.stage_table import SELECT
from cc_tuning.runtime.step import run_step
from cc_tuning.selection import sources
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.row_index import read_row_index
from cc_tuning.selection.summary import SelectionSummary
from data_contracts.files import read_json
from data_contracts.layout import SELECTED_ROWS, SELECTION_SUMMARY
from data_contracts.parquet import read_parquet
from data_contracts.schemas import AyaRow
from data_contracts.store import ArtifactStore


def row(inputs: str | None, targets: str = "Ja, sicher", code: str = "deu", **more: str) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "targets": targets,
        "language_code": code,
        "language": None,
        "annotation_type": "a",
    } | more


ROWS_READ = [
    row("Ist es kalt?"), row("IST ES KALT!!", "ja sicher"), row("Ist es warm?"), row("Ist es kalt?"),
    row(None), row("?"), row("Was?", "x" * 30), row("Ist es spät?", annotation_type="b"),
    row("你好吗？", "我 很好。", "zho", language="Traditional Chinese"), row("你好吗", "我很好", "zho"),
    row("Wat?", code="xx"), row("¿Qué es?", "No lo sé", "spa"),
]  # fmt: skip


def select(folder: Path, source: list[dict[str, Any]], **config: Any) -> tuple[SelectionSummary, pl.DataFrame]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in source), encoding="utf-8")
    store, place = ArtifactStore(folder / "store"), LocalSource.of(path)
    step = SELECT.step(SelectionConfig(decontamination="none", **config), source=place)
    outcome = run_step(step, store, Execution(quarantine_limit=1), no_progress)
    summary = SelectionSummary.model_validate(read_json(store.path(outcome.ref) / SELECTION_SUMMARY))
    counts = outcome.manifest.rows
    assert (counts.read, counts.kept, counts.quarantined) == (
        summary.total.read, summary.total.kept, summary.total.quarantined
    )  # fmt: skip
    return summary, read_parquet(store.path(outcome.ref) / SELECTED_ROWS, AyaRow)


ASKED = {"languages": ("deu", "zho"), "min_characters": 3, "max_characters": 20, "annotation_types": ("a",)}


def test_each_row_is_counted_once_with_its_language_and_reason(tmp_path: Path) -> None:
    summary, kept = select(tmp_path, ROWS_READ, **ASKED)
    german = summary.languages["deu_Latn"]
    assert german.name == "German"
    assert german.quarantined == {"duplicate_row": 1, "null_text": 1}
    assert german.not_selected == {"another_annotation_type": 1, "too_long": 1, "too_short": 1}
    assert (german.read, german.sound, german.kept) == (8, 6, 3)
    assert summary.languages["spa_Latn"].not_selected == {"another_language": 1}
    assert summary.languages["und"].quarantined == {"unknown_language": 1}
    # One code, two scripts: the column `language` tells them apart.
    assert {summary.languages[code].name for code in ("zho_Hans", "zho_Hant")} == {
        "Simplified Chinese", "Traditional Chinese",
    }  # fmt: skip
    assert summary.total.kept == kept.height == 5
    assert summary.total.read == sum(each.read for each in summary.languages.values()) == len(ROWS_READ)


def test_rows_with_the_same_words_are_counted_and_kept(tmp_path: Path) -> None:
    summary, _ = select(tmp_path, ROWS_READ)
    assert summary.languages["deu_Latn"].near_duplicates == 2
    assert summary.languages["zho_Hans"].near_duplicates == summary.languages["zho_Hant"].near_duplicates == 1
    assert summary.total.near_duplicates == summary.total.near_duplicates_kept == 4
    few, _ = select(tmp_path, ROWS_READ, rows=1)
    assert (few.total.near_duplicates, few.total.near_duplicates_kept) == (4, 0)
    assert few.total.not_selected == {"not_drawn": 8}


def test_size_of_batches_and_order_of_rows_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates meet across batches too; which of them stays is decided by their other columns."""
    rows = [*ROWS_READ, row("Ist es kalt?", annotation_type="0"), row("Ist es kalt?", annotation_type="z")]
    expected = select(tmp_path, rows, **ASKED | {"annotation_types": ("0", "a")})
    monkeypatch.setattr(sources, "_BATCH_ROWS", 2)
    summary, kept = select(tmp_path, rows[::-1], **ASKED | {"annotation_types": ("0", "a")})
    assert summary == expected[0]
    assert kept.equals(expected[1])
    assert kept.filter(pl.col("inputs") == "Ist es kalt?")["annotation_type"].to_list() == ["0"]


def test_limits_that_leave_nothing_are_told_with_the_counts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of 12 rows was chosen; sound rows: 9.*'another_annotation_type': 9"):
        select(tmp_path, ROWS_READ, annotation_types=("original",))
    with pytest.raises(ValidationError, match="max_characters is 2, less than min_characters, 3"):
        SelectionConfig(min_characters=3, max_characters=2)


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"

    def read_then_change(*arguments: Any) -> Any:
        index = read_row_index(*arguments)
        path.write_text(path.read_text(encoding="utf-8").replace("warm", "lau"), encoding="utf-8")
        return index

    monkeypatch.setattr("cc_tuning.stages.select.read_row_index", read_then_change)
    with pytest.raises(ConfigError, match=r"changed after the plan was made: its sha256 was"):
        select(tmp_path, ROWS_READ)
