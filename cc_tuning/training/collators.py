"""Training rows to the batches of an optimizer step: right padding, a loss on the response only, and the noise of rows.

A collator makes one micro-batch. `StepCollator` makes all those of a rank in a step, with the ids and the token counts
of their rows. The Gumbel noise of training is a function of seed, epoch and row: a generator that is drawn from in the
order of the batches would give a row other noise on another number of ranks, or after a change of batch size by memory,
and so another result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import shake_128
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cc_tuning.errors import TrainingFailed
from cc_tuning.runtime.padding import padded
from cc_tuning.text.prompts import connection_position
from cc_tuning.training.dataset import ENGLISH_PROMPT, MicroBatchRows, Row, SequenceColumns

IGNORED_LABEL = -100
LABELS = "labels"

Batch = dict[str, Tensor | int]
Collator = Callable[[Sequence[Row]], Batch]


@dataclass(frozen=True)
class ResponseCollator:
    """Prompts with their responses, as many `sequences` for each row, padded together.

    Gives `input_ids`, `attention_mask` and `labels` `[B * S, T]`, int64. The prompt and the padding carry no label, the
    response and its end-of-turn token do. The sequences of a row stand next to each other.
    """

    pad_token_id: int
    sequences: tuple[SequenceColumns, ...]

    def __call__(self, rows: Sequence[Row]) -> Batch:
        input_ids, attention_mask = padded(
            [row[sequence.input_ids] for row in rows for sequence in self.sequences], self.pad_token_id
        )
        prompt_lengths = torch.tensor([row[sequence.prompt_length] for row in rows for sequence in self.sequences])
        positions = torch.arange(input_ids.shape[1])
        is_response = (positions >= prompt_lengths[:, None]) & (attention_mask == 1)
        labels = input_ids.where(is_response, IGNORED_LABEL)
        return {"input_ids": input_ids, "attention_mask": attention_mask, LABELS: labels}


@dataclass(frozen=True)
class RowNoise:
    """Standard Gumbel noise over `layers` layers for the rows of a run with this `seed`."""

    seed: int
    layers: int

    def of_rows(self, rows: Sequence[Row]) -> Tensor:
        """`[B, L]` float32 of rows with a `row_id` and an `epoch`."""
        return torch.from_numpy(np.stack([self.of_row(row["row_id"], row["epoch"]) for row in rows]))

    def of_row(self, row_id: str, epoch: int) -> np.ndarray:
        """`[L]` float32: `-log(-log(u))`, with `u` uniform in 53 bits of a hash."""
        digest = shake_128(f"{self.seed}/{epoch}/{row_id}".encode()).digest(8 * self.layers)
        uniform = ((np.frombuffer(digest, dtype="<u8") >> 11) + 0.5) / 2**53
        noise: np.ndarray = (-np.log(-np.log(uniform))).astype(np.float32)
        return noise


@dataclass(frozen=True)
class PredictedRows:
    """Which rows of a run with this `seed` get predicted English activations: the share `share` of them."""

    seed: int
    share: float

    def of_rows(self, rows: Sequence[Row]) -> Tensor:
        """`[B]` bool of rows with a `row_id` and an `epoch`."""
        return torch.tensor([self.of_row(row["row_id"], row["epoch"]) for row in rows])

    def of_row(self, row_id: str, epoch: int) -> bool:
        """Whether a number in [0, 1) by hash is below the share."""
        digest = shake_128(f"{self.seed}/{epoch}/{row_id}/predicted".encode()).digest(8)
        return int.from_bytes(digest, "little") / 2**64 < self.share


@dataclass(frozen=True)
class ConnectionCollator:
    """What the connection reads, beside the batch of an objective's collator: the English prompts, and `t*` of each.

    `english_input_ids`, `english_attention_mask` `[B * S, T_en]`, padded by themselves; `connection_positions`,
    `english_positions` `[B * S]`, all int64. Each sequence of a row has the row's English prompt. Positions come from
    the known prompt lengths. With `noise`, `gumbel_noise [B * S, L]` float32 of each row's `row_id` and `epoch`;
    without, the model draws its own. With `predicted`, `predicted_rows [B * S]` bool.
    """

    responses: Collator
    sequences: tuple[SequenceColumns, ...]
    pad_token_id: int
    offset: int
    noise: RowNoise | None = None
    predicted: PredictedRows | None = None

    def __call__(self, rows: Sequence[Row]) -> Batch:
        of_sequences = [row for row in rows for _ in self.sequences]
        english = [row[ENGLISH_PROMPT] for row in of_sequences]
        english_input_ids, english_attention_mask = padded(english, self.pad_token_id)
        prompt_lengths = [row[sequence.prompt_length] for row in rows for sequence in self.sequences]
        return {
            **self.responses(rows),
            **({} if self.noise is None else {"gumbel_noise": self.noise.of_rows(of_sequences)}),
            **({} if self.predicted is None else {"predicted_rows": self.predicted.of_rows(of_sequences)}),
            "connection_positions": self._positions(prompt_lengths),
            "english_input_ids": english_input_ids,
            "english_attention_mask": english_attention_mask,
            "english_positions": self._positions([len(ids) for ids in english]),
        }

    def _positions(self, prompt_lengths: Sequence[int]) -> Tensor:
        return torch.tensor([connection_position(length, self.offset) for length in prompt_lengths])


@dataclass
class TokenCounts:
    """Real and padded tokens of training sequences, and of English prompts where they are read."""

    tokens: int = 0
    padded: int = 0
    english_tokens: int = 0
    english_padded: int = 0
    squares: int = 0
    """Sum over sequences of the square of their tokens, for the cost of attention."""
    english_squares: int = 0
    labels: int = 0
    """Response tokens, those with a loss."""

    def add(self, other: "TokenCounts") -> None:
        """Add `other` to these counts."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @classmethod
    def of(cls, batch: Batch, is_idle: bool) -> "TokenCounts":
        """What is in a micro-batch; an idle one is padding alone."""
        lengths, columns = _lengths_of(batch, "attention_mask")
        english, english_columns = _lengths_of(batch, "english_attention_mask")
        padding = cls(padded=len(lengths) * columns, english_padded=len(english) * english_columns)
        if not is_idle:
            real = cls(
                tokens=sum(lengths),
                english_tokens=sum(english),
                squares=sum(length**2 for length in lengths),
                english_squares=sum(length**2 for length in english),
                labels=int(_labels_of(batch).ne(IGNORED_LABEL).sum()),
            )
            padding.add(real)
        return padding


class MicroBatch(NamedTuple):
    """One forward and backward pass; an idle one keeps its rank in step with the others and counts for nothing."""

    batch: Batch
    row_ids: list[str]
    is_idle: bool


class StepBatches(NamedTuple):
    """What one rank trains in one optimizer step."""

    micro_batches: list[MicroBatch]
    counts: TokenCounts


@dataclass(frozen=True)
class StepCollator:
    """Rows of the micro-batches of a step to `StepBatches`, each micro-batch by `collate`.

    Raises:
        TrainingFailed: a row to train has a sequence without a token with a label.
    """

    collate: Collator

    def __call__(self, step: Sequence[MicroBatchRows]) -> StepBatches:
        micro_batches: list[MicroBatch] = []
        counts = TokenCounts()
        for rows, is_idle in step:
            micro_batch = MicroBatch(self.collate(rows), [row["row_id"] for row in rows], is_idle)
            _check_labels(micro_batch)
            micro_batches.append(micro_batch)
            counts.add(TokenCounts.of(micro_batch.batch, is_idle))
        return StepBatches(micro_batches, counts)


def _check_labels(micro_batch: MicroBatch) -> None:
    labels, row_ids = _labels_of(micro_batch.batch), micro_batch.row_ids
    is_trained = (labels != IGNORED_LABEL).any(1).view(len(row_ids), -1).all(1).tolist()
    without = [row_id for row_id, has_labels in zip(row_ids, is_trained, strict=True) if not has_labels]
    if without:
        raise TrainingFailed(
            f"{len(without)} rows of a micro-batch have no response token to train, the first {without[0]}; every row "
            "needs at least one after its prompt. Materialize the rows again"
        )


def _labels_of(batch: Batch) -> Tensor:
    labels = batch[LABELS]
    assert isinstance(labels, Tensor)
    return labels


def _lengths_of(batch: Batch, mask_name: str) -> tuple[list[int], int]:
    """Real tokens of each sequence, and the columns of the batch; nothing where the batch has no such mask."""
    mask = batch.get(mask_name)
    if not isinstance(mask, Tensor):
        return [], 0
    return mask.sum(1).tolist(), mask.shape[1]
