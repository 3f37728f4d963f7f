"""What the Trainer asks an objective for: its rows, its batches, its loss, and what the loss is divided by.

The connection is no part of it. `loss` is given a model to call, and does not see whether that is the language model
itself or one with a connection, whose inputs are in the batch and whose choices the Trainer records.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from cc_tuning.training.collators import IGNORED_LABEL, LABELS, Batch, Collator
from cc_tuning.training.dataset import RowContract

Model = Callable[..., Any]
"""Called with a batch's inputs by name, it gives an output whose `logits` are `[B * S, K, V]`."""


class Loss(NamedTuple):
    """What one micro-batch adds to the loss of its optimizer step, and what is logged beside it."""

    loss: Tensor  # a scalar with a gradient
    metrics: Mapping[str, Tensor]  # by the names in `Objective.metrics`: one number for each row [B], without gradient


class Objective(Protocol):
    """A training objective. `B` rows, `S` sequences a row, `T` tokens, `K` positions with logits, `V` vocabulary."""

    @property
    def contract(self) -> RowContract:
        """The rows it trains on. The number of their sequences decides the cost of a micro-batch, padding and FLOPs."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what is logged beside the loss: the mean over the rows of an interval."""

    def collator(self, pad_token_id: int, inputs: Mapping[str, Path]) -> Collator:
        """What makes a batch of rows. `inputs` are folders of more artifacts by name, joined to the rows by `row_id`.

        Every batch has `input_ids, attention_mask [B * S, T]` and `labels [B * S, K]`, the sequences of a row next to
        each other.
        """

    def count(self, batch: Batch) -> Tensor:
        """What the loss of an optimizer step is divided by, as far as it is in this micro-batch; int64.

        A scalar, or a vector where parts of the loss are means over different things.
        """

    def loss(self, model: Model, batch: Batch, normaliser: Tensor) -> Loss:
        """The micro-batch's part of the step's loss: the sum over its rows, divided by `normaliser`.

        `normaliser` is `count` summed over the micro-batches of all ranks, float32. Parts add up to the loss of the
        step, however it is cut.
        """


def model_inputs(batch: Batch) -> Batch:
    """The batch without its labels: what the model is called with."""
    return {name: value for name, value in batch.items() if name != LABELS}


def targets_of(batch: Batch) -> Tensor:
    """The token that each position predicts `[B * S, K]`: the label after it, `IGNORED_LABEL` if it is not trained."""
    labels = batch[LABELS]
    assert isinstance(labels, Tensor)
    return nn.functional.pad(labels, (0, 1), value=IGNORED_LABEL)[:, 1:]


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """`- sum log p(target)` in float32, a scalar; `logits [B * S, K, V]` in any dtype, `targets [B * S, K]`."""
    flat = logits.float().view(-1, logits.shape[-1])
    return nn.functional.cross_entropy(
        flat, targets.reshape(-1).to(logits.device), ignore_index=IGNORED_LABEL, reduction="sum"
    )
