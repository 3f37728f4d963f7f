"""The training rows of a `materialize` artifact, as the Trainer reads them."""

from pathlib import Path
from typing import Any

import polars as pl
from torch.utils.data import Dataset

from cc_tuning.errors import TrainingFailed
from cc_tuning.training.sampler import StepRows
from data_contracts.parquet_stream import read_batches
from data_contracts.schemas import TrainingRow

_COLUMNS = ["row_id", "input_ids", "prompt_length", "english_input_ids"]
_NO_ROWS = TrainingRow.create_empty().select(_COLUMNS)

Row = dict[str, Any]


class TrainingRows(Dataset[Row]):
    """Rows by index, in the order of the file; ids stay in Arrow memory until a row is asked for.

    `rows[~index]` is the same row with nothing to train: `is_idle`, and all of it counts as prompt. `row_ids`,
    `lengths` (tokens of prompt and response) and `english_lengths` (of the English prompt) are those of the rows.

    Raises:
        ArtifactMismatch: the file is missing or damaged.
        TrainingFailed: there is no row.
    """

    def __init__(self, path: Path) -> None:
        # Batch by batch, so that the texts of all rows are never in memory together.
        batches = read_batches(path, TrainingRow)
        rows = pl.concat([_NO_ROWS, *(batch.select(_COLUMNS) for batch in batches)], rechunk=True)
        if rows.is_empty():
            raise TrainingFailed(f"{path} has no rows to train on; look at its quarantine.parquet and the selection")
        self._rows = rows
        self.row_ids: list[str] = rows["row_id"].to_list()
        self.lengths: list[int] = rows["input_ids"].list.len().to_list()
        self.english_lengths: list[int] = rows["english_input_ids"].list.len().to_list()

    def __len__(self) -> int:
        return self._rows.height

    def __getitem__(self, index: int) -> Row:
        if index >= 0:
            return self._rows.row(index, named=True)
        row = self._rows.row(~index, named=True)
        return {**row, "prompt_length": len(row["input_ids"]), "is_idle": True}

    def __getitems__(self, step: StepRows) -> list[list[Row]]:
        """The rows of each micro-batch of a step, with the `epoch`: what the DataLoader asks for."""
        return [[{**self[index], "epoch": step.epoch} for index in batch] for batch in step.micro_batches]
