"""Item files whose columns hold something else than text, and English prompts that are blank."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cc_tuning.evaluation.items import load_items
from data_contracts.errors import ContractViolation

ITEM: dict[str, Any] = {
    "item_id": "1", "benchmark": "MKQA", "language": "es", "prompt": "¿Qué?", "prompt_en": "What?",
    "answers": ["1969"], "choices_kind": "answer_aliases",
}  # fmt: skip


def items_of(folder: Path, **changes: Any) -> Path:
    pl.DataFrame([ITEM | changes]).write_parquet(folder / "mkqa.parquet")
    return folder


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("answers", [{"type": "number", "text": "1969"}]), ("answers", "1969"), ("answers", [["1969"]]),
        ("prompt", ["¿Qué?"]), ("prompt_en", {"text": "What?"}),
    ],
)  # fmt: skip
def test_objects_and_lists_are_no_text_and_their_column_is_named(tmp_path: Path, column: str, value: Any) -> None:
    with pytest.raises(ContractViolation, match=rf"mkqa\.parquet: {column} is .*; expected"):
        load_items(items_of(tmp_path, **{column: value}))


@pytest.mark.parametrize("blank", ["", " \t", "\u3000", "nan", "NaN", None])
def test_a_blank_english_prompt_counts_as_none(tmp_path: Path, blank: str | None) -> None:
    loaded = load_items(items_of(tmp_path, prompt_en=blank))
    assert (loaded.items.height, loaded.items["prompt_en"].to_list()) == (1, [None])


def test_hidden_files_beside_items_are_passed_over(tmp_path: Path) -> None:
    items_of(tmp_path)
    (tmp_path / "._mkqa.parquet").write_bytes(b"a resource fork")
    assert load_items(tmp_path).items.height == 1
