"""What the Trainer asks an objective for: its rows, its batches, its loss, and what the loss is divided by.

The connection is no part of it. `loss` is given a model to call, and does not see whether that is the language model
itself or one with a connection, whose inputs are in the batch and whose choices the Trainer records.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cc_tuning.model.label_head import LOGIT_BYTES, Read, fits_whole, head_at, head_in_parts, rows_of_a_part
from cc_tuning.model.wrapped_model import WrappedModel
from cc_tuning.training.collators import IGNORED_LABEL, LABELS, Batch, Collator
from cc_tuning.training.dataset import RowContract


@dataclass(frozen=True)
class CalledModel:
    """A module, and how it is called: through what an engine has around it, with what the caller adds.

    `call` takes a batch's inputs by name and gives the module's output, whose `logits` are `[B * S, T, V]`. At most
    `logit_bytes` of float32 logits are held at a time; None is for an engine under which the head is not cut.
    """

    module: PreTrainedModel | WrappedModel
    call: Callable[..., Any]
    logit_bytes: int | None = LOGIT_BYTES

    def __call__(self, **inputs: Any) -> Any:
        """The output."""
        return self.call(**inputs)

    @property
    def base(self) -> PreTrainedModel:
        """The language model itself."""
        return self.module.base if isinstance(self.module, WrappedModel) else self.module


Model = CalledModel | PreTrainedModel | WrappedModel
"""Called with a batch's inputs by name, it gives an output whose `logits` are `[B * S, T, V]`."""


class Loss(NamedTuple):
    """What one micro-batch adds to the loss of its optimizer step, and what is logged beside it."""

    loss: Tensor  # a scalar with a gradient
    metrics: Mapping[str, Tensor]  # by the names in `Objective.metrics`: one number for each row [B], without gradient


class Objective(Protocol):
    """A training objective. `B` rows, `S` sequences a row, `T` tokens, `N` tokens with a label, `V` vocabulary."""

    @property
    def contract(self) -> RowContract:
        """The rows it trains on. The number of their sequences decides the cost of a micro-batch, padding and FLOPs."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what is logged beside the loss: the mean over the rows of an interval."""

    def collator(self, pad_token_id: int, inputs: Mapping[str, Path]) -> Collator:
        """What makes a batch of rows. `inputs` are folders of more artifacts by name, joined to the rows by `row_id`.

        Every batch has `input_ids, attention_mask, labels [B * S, T]`, the sequences of a row next to each other.
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
    """The token that each position predicts `[B * S, T]`: the label after it, `IGNORED_LABEL` if it is not trained."""
    labels = batch[LABELS]
    assert isinstance(labels, Tensor)
    return nn.functional.pad(labels, (0, 1), value=IGNORED_LABEL)[:, 1:]


def read_at_labels(model: Model, inputs: Batch, targets: Tensor, read: Read, passes: int = 1) -> Tensor:
    """What `read` makes of the logits at the positions with a label, `[N, ...]`; the head runs on no others.

    `inputs` are what the model is called with, `targets [B * S, T]`; positions are in the order of the rows, and in
    each of its tokens. `read` is given the logits `[M, V]` of each of the `passes` of a call, in any dtype, and the
    labels `[M]`: of all positions, or of some at a time where they would be too many for the model's `logit_bytes`.

    Raises:
        UnsupportedModel: the model's head cannot be given some positions alone.
    """
    called = model if isinstance(model, CalledModel) else CalledModel(model, model)
    is_labelled = targets.ne(IGNORED_LABEL)
    labels = targets[is_labelled].to(called.base.device)
    if called.logit_bytes is None or fits_whole(called.base, len(labels), called.logit_bytes):
        with head_at(called.base, is_labelled):
            output = called(**inputs)
        logits = (output.logits, output.unconnected_logits) if passes == 2 else (output.logits,)
        return read(*logits, labels)
    rows = rows_of_a_part(called.base, called.logit_bytes)
    with head_in_parts(called.base, called.module, is_labelled, labels, read, rows, passes):
        of_parts: Tensor = called(**inputs).logits
    return of_parts


def log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """`log p(label) [N]` in nats, float32 or the dtype of `logits [N, V]` where that is wider; `labels [N]`."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -nn.functional.cross_entropy(wide, labels, reduction="none")


def at_their_places(values: Tensor, targets: Tensor) -> Tensor:
    """`values [N]` of the positions with a label as `[B * S, T]`, with zeros at the others."""
    is_labelled = targets.ne(IGNORED_LABEL).to(values.device)
    return values.new_zeros(is_labelled.shape).masked_scatter(is_labelled, values)
