"""The training rows of an artifact, read from its verified parquet file; token ids stay in Arrow memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import polars as pl

from cc_tuning.training.dataset import ENGLISH_PROMPT, Row, RowContract, Rows
from data_contracts import schemas
from data_contracts.parquet_stream import read_batches


class FrameRows(Sequence[Row]):
    """The rows of a data frame as mappings, made when they are asked for."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return self._frame.height

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "FrameRows": ...
    def __getitem__(self, index: int | slice) -> "Row | FrameRows":
        return FrameRows(self._frame[index]) if isinstance(index, slice) else self._frame.row(index, named=True)


def read_rows(path: Path, contract: RowContract) -> Rows:
    """The rows of a file in its order.

    Raises:
        ArtifactMismatch: the file is missing or damaged.
        TrainingFailed: there is no row.
    """
    schema: Any = getattr(schemas, contract.schema)
    # Batch by batch, so that the texts of all rows are never in memory together.
    none = schema.create_empty().select(contract.columns)
    frame = pl.concat([none, *(batch.select(contract.columns) for batch in read_batches(path, schema))], rechunk=True)

    def lengths(column: str) -> np.ndarray:
        return frame[column].list.len().cast(pl.Int64).to_numpy()

    of_sequences = np.stack([lengths(sequence.input_ids) for sequence in contract.sequences], axis=1)
    return Rows(FrameRows(frame), frame["row_id"].to_list(), of_sequences, lengths(ENGLISH_PROMPT), str(path))
