"""What objectives over preference rows share: the four sequences of a row, and what a reference model says of them.

A row is a prompt and its response in two languages. In either language the response of the prompt's own language is
chosen and the other one rejected:

    chosen (x, y)   rejected (x, y_en)   english_chosen (x_en, y_en)   english_rejected (x_en, y)

The reference model is never in memory here: its log-probabilities are an artifact (stage `reference`), joined by row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.training.collators import Batch, Collator
from cc_tuning.training.dataset import Row, RowContract, SequenceColumns
from cc_tuning.training.objectives.base import (
    Model,
    at_their_places,
    log_probabilities,
    model_inputs,
    read_at_labels,
    targets_of,
)
from cc_tuning.training.objectives.table import REFERENCE

PREFERENCE_ROW = "PreferenceRow"
CHOSEN = SequenceColumns("chosen_ids", "prompt_length")
REJECTED = SequenceColumns("rejected_ids", "prompt_length")
ENGLISH_CHOSEN = SequenceColumns("english_chosen_ids", "english_prompt_length")
ENGLISH_REJECTED = SequenceColumns("english_rejected_ids", "english_prompt_length")
FOUR_SEQUENCES = RowContract(schema=PREFERENCE_ROW, sequences=(CHOSEN, REJECTED, ENGLISH_CHOSEN, ENGLISH_REJECTED))


@dataclass(frozen=True)
class ReferenceCollator:
    """A batch of `responses` with `reference [B, 4]` float32: what the reference model says of each row's sequences.

    `log_probabilities` are those four by row id, in nats.
    """

    responses: Collator
    log_probabilities: Mapping[str, Sequence[float]]

    def __call__(self, rows: Sequence[Row]) -> Batch:
        known = torch.tensor([self.log_probabilities[row["row_id"]] for row in rows], dtype=torch.float32)
        return {**self.responses(rows), REFERENCE: known}


def sequence_log_probabilities(model: Model, batch: Batch) -> Tensor:
    """`log pi(y | x) = sum_t log pi(y_t | x, y_<t)` of each sequence of each row, `[B, 4]`, in nats.

    Float32, or the dtype of the logits where that is wider.
    """
    inputs = {name: value for name, value in model_inputs(batch).items() if name != REFERENCE}
    targets = targets_of(batch)
    each = read_at_labels(model, inputs, targets, log_probabilities)
    return at_their_places(each, targets).sum(1).view(-1, FOUR_SEQUENCES.sequences_per_row)


def margins(log_probabilities: Tensor, batch: Batch, beta: float) -> Tensor:
    """`z = beta [log pi(chosen)/ref(chosen) - log pi(rejected)/ref(rejected)]` `[B, 2]`: of the prompt, then of its
    English version; `log_probabilities [B, 4]` are the model's."""
    reference = batch[REFERENCE]
    assert isinstance(reference, Tensor)
    log_ratios = log_probabilities - reference.to(log_probabilities.device)
    return beta * (log_ratios[:, 0::2] - log_ratios[:, 1::2])


def margin_metrics(of_rows: Tensor) -> dict[str, Tensor]:
    """What is logged of `margins [B, 2]`, by the names in `MARGIN_METRICS`."""
    of_rows = of_rows.detach()
    return {"margin": of_rows[:, 0], "english_margin": of_rows[:, 1]}


MARGIN_METRICS = ("margin", "english_margin")
"""The means over rows of `z_t` and `z_en`."""
