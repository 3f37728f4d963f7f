"""The training rows of a `materialize` artifact, as the Trainer reads them."""

from pathlib import Path

import polars as pl
from torch.utils.data import Dataset

from cc_tuning.errors import TrainingFailed
from data_contracts.parquet_stream import read_batches
from data_contracts.schemas import TrainingRow

_MODEL_COLUMNS = ["input_ids", "prompt_length", "english_input_ids"]
_NO_ROWS = TrainingRow.create_empty().select("row_id", *_MODEL_COLUMNS)


class TrainingRows(Dataset[dict[str, list[int] | int]]):
    """Rows by index, in the order of the file; ids stay in Arrow memory until a row is asked for.

    `rows[~index]` is the same row with nothing to train: all of it counts as prompt. `row_ids` and `lengths` (tokens of
    prompt and response) are those of the rows.

    Raises:
        ArtifactMismatch: the file is missing or damaged.
        TrainingFailed: there is no row.
    """

    def __init__(self, path: Path) -> None:
        # Batch by batch, so that the texts of all rows are never in memory together.
        batches = read_batches(path, TrainingRow)
        rows = pl.concat([_NO_ROWS, *(batch.select(_NO_ROWS.columns) for batch in batches)], rechunk=True)
        if rows.is_empty():
            raise TrainingFailed(f"{path} has no rows to train on; look at its quarantine.parquet and the selection")
        self._rows = rows.select(_MODEL_COLUMNS)
        self.row_ids: list[str] = rows["row_id"].to_list()
        self.lengths: list[int] = rows["input_ids"].list.len().to_list()

    def __len__(self) -> int:
        return self._rows.height

    def __getitem__(self, index: int) -> dict[str, list[int] | int]:
        if index >= 0:
            return self._rows.row(index, named=True)
        row = self._rows.row(~index, named=True)
        return {**row, "prompt_length": len(row["input_ids"])}
