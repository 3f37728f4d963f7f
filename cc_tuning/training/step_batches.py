"""What one rank trains in one optimizer step: its micro-batches, with the ids and the token counts of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from cc_tuning.errors import TrainingFailed
from cc_tuning.training.collators import IGNORED_LABEL, Batch, ResponseCollator, Row


@dataclass
class TokenCounts:
    """Real and padded tokens of training sequences, and of English prompts where they are read."""

    tokens: int = 0
    padded: int = 0
    english_tokens: int = 0
    english_padded: int = 0
    squares: int = 0
    """Sum over rows of the square of their tokens, for the cost of attention."""
    english_squares: int = 0
    labels: int = 0
    """Response tokens, those with a loss."""

    def add(self, other: "TokenCounts") -> None:
        """Add `other` to these counts."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class StepBatches(NamedTuple):
    """The micro-batches of a step; `row_ids` are empty for one that only keeps this rank in step with the others."""

    row_ids: list[list[str]]
    micro_batches: list[Batch]
    counts: TokenCounts


@dataclass(frozen=True)
class StepCollator:
    """Rows of the micro-batches of a step to `StepBatches`, each micro-batch by `collate`.

    Raises:
        TrainingFailed: a row to train has no token with a label.
    """

    collate: ResponseCollator

    def __call__(self, step: Sequence[Sequence[Row]]) -> StepBatches:
        row_ids: list[list[str]] = []
        micro_batches: list[Batch] = []
        counts = TokenCounts()
        for rows in step:
            batch = self.collate(rows)
            is_idle = "is_idle" in rows[0]
            ids = [] if is_idle else [row["row_id"] for row in rows]
            if ids:
                _check_labels(batch, ids)
            row_ids.append(ids)
            micro_batches.append(batch)
            counts.add(_count(rows, batch, is_idle))
        return StepBatches(row_ids, micro_batches, counts)


def _check_labels(batch: Batch, row_ids: Sequence[str]) -> None:
    labels = batch["labels"]
    assert isinstance(labels, Tensor)
    trained = (labels != IGNORED_LABEL).any(1).tolist()
    without = [row_id for row_id, has_label in zip(row_ids, trained, strict=True) if not has_label]
    if without:
        raise TrainingFailed(
            f"{len(without)} rows of a micro-batch have no response token to train, the first {without[0]}; every row "
            "needs at least one after its prompt. Materialize the rows again"
        )


def _count(rows: Sequence[Row], batch: Batch, is_idle: bool) -> TokenCounts:
    lengths = [len(row["input_ids"]) for row in rows]
    english = [len(row["english_input_ids"]) for row in rows] if "english_input_ids" in batch else []
    padded = TokenCounts(padded=len(rows) * max(lengths), english_padded=len(english) * max(english, default=0))
    if is_idle:
        return padded
    return TokenCounts(
        tokens=sum(lengths),
        padded=padded.padded,
        english_tokens=sum(english),
        english_padded=padded.english_padded,
        squares=sum(length**2 for length in lengths),
        english_squares=sum(length**2 for length in english),
        labels=sum(length - row["prompt_length"] for length, row in zip(lengths, rows, strict=True)),
    )
