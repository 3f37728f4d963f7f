"""Training rows as the Trainer reads them, from whatever holds them: a list in memory, or a file (parquet_rows.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from torch.utils.data import Dataset

from cc_tuning.errors import TrainingFailed
from cc_tuning.training.sampler import StepIndices
from data_contracts.errors import ContractViolation

ENGLISH_PROMPT = "english_input_ids"
"""The column with the ids of the English prompt that the connection reads, as every contract of rows has it."""

Row = Mapping[str, Any]


class SequenceColumns(NamedTuple):
    """Where rows have one of their sequences: the column of its token ids, and that of the length of its prompt."""

    input_ids: str
    prompt_length: str


@dataclass(frozen=True)
class RowContract:
    """The rows of an objective: a schema of `data_contracts.schemas` by name, and the sequences the model reads."""

    schema: str
    sequences: tuple[SequenceColumns, ...]

    @property
    def sequences_per_row(self) -> int:
        """`S`: a micro-batch of `B` rows has `B * S` sequences."""
        return len(self.sequences)

    @property
    def columns(self) -> list[str]:
        """What is read of a row; sequences with one prompt share the column of its length."""
        of_sequences = (column for sequence in self.sequences for column in sequence)
        return list(dict.fromkeys(["row_id", *of_sequences, ENGLISH_PROMPT]))


class MicroBatchRows(NamedTuple):
    """The rows of a micro-batch; those of an idle one keep their rank in step and are not trained."""

    rows: list[Row]
    is_idle: bool = False


class RowsByIndex(Protocol):
    """Whatever holds rows: a sequence of them, or other `Rows`."""

    def __getitem__(self, index: int, /) -> Row: ...


@dataclass(frozen=True)
class _Chosen:
    rows: RowsByIndex
    indices: Sequence[int]

    def __getitem__(self, index: int, /) -> Row:
        return self.rows[self.indices[index]]


class Rows(Dataset[Row]):
    """Rows by index, with what the sampler asks of all of them.

    `row_ids` of N rows, `lengths [N, S]` int64 tokens of each sequence, `english_lengths [N]` int64 tokens of the
    English prompts.

    Raises:
        TrainingFailed: there is no row.
    """

    def __init__(
        self, rows: RowsByIndex, row_ids: Sequence[str], lengths: np.ndarray, english_lengths: np.ndarray, place: str
    ) -> None:
        if not row_ids:
            raise TrainingFailed(f"{place} has no rows to train on; look at its quarantine.parquet and the selection")
        self._rows, self.row_ids = rows, row_ids
        self.lengths, self.english_lengths = lengths, english_lengths

    @classmethod
    def of(cls, rows: Sequence[Row], contract: RowContract) -> Self:
        """Rows in memory: mappings with at least the columns of `contract`.

        Raises:
            ContractViolation: a row lacks a column.
            TrainingFailed: there is no row.
        """
        for number, row in enumerate(rows):
            if absent := [column for column in contract.columns if column not in row]:
                raise ContractViolation(
                    f"training row {number} ({row.get('row_id', 'without row_id')}) lacks {', '.join(absent)}; "
                    f"expected {', '.join(contract.columns)}"
                )
        lengths = [[len(row[sequence.input_ids]) for sequence in contract.sequences] for row in rows]
        english_lengths = [len(row[ENGLISH_PROMPT]) for row in rows]
        row_ids = [str(row["row_id"]) for row in rows]
        return cls(rows, row_ids, np.array(lengths), np.array(english_lengths), "the list of rows")

    def subset(self, indices: Sequence[int]) -> "Rows":
        """The rows of these indices, in this order; they stay where they are."""
        chosen = _Chosen(self, indices)
        row_ids = [self.row_ids[index] for index in indices]
        return Rows(chosen, row_ids, self.lengths[indices], self.english_lengths[indices], "the chosen rows")

    def __len__(self) -> int:
        return len(self.row_ids)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    def __getitems__(self, step: StepIndices) -> list[MicroBatchRows]:
        """The rows of each micro-batch of a step, with the `epoch`: what the DataLoader asks for."""
        return [
            MicroBatchRows([{**self[index], "epoch": step.epoch} for index in indices], is_idle)
            for indices, is_idle in step.micro_batches
        ]
