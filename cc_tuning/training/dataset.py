"""The training rows of a `materialize` artifact, as the Trainer reads them."""

from pathlib import Path

import polars as pl
from torch.utils.data import Dataset

from cc_tuning.errors import TrainingFailed
from data_contracts.parquet import read_parquet
from data_contracts.schemas import TrainingRow

_MODEL_COLUMNS = ["input_ids", "prompt_length", "english_input_ids"]


class TrainingRows(Dataset[dict[str, list[int] | int]]):
    """Rows by index, in the order of the file; ids stay in Arrow memory until a row is asked for.

    Raises:
        ArtifactMismatch: the file is missing or damaged.
        TrainingFailed: there is no row.
    """

    def __init__(self, path: Path) -> None:
        self._rows: pl.DataFrame = read_parquet(path, TrainingRow).select(_MODEL_COLUMNS)
        if self._rows.is_empty():
            raise TrainingFailed(f"{path} has no rows to train on; look at its quarantine.parquet and the selection")

    def __len__(self) -> int:
        return self._rows.height

    def __getitem__(self, index: int) -> dict[str, list[int] | int]:
        return self._rows.row(index, named=True)
