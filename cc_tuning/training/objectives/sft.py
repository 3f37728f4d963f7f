"""Supervised fine-tuning: the language model learns to write the response after its prompt.

    L = - (1 / N) sum_i sum_t log p(y_i,t | x_i, y_i,<t)        (Ye et al. 2025, eq. 1)

with `N` the response tokens of the optimizer step, over all micro-batches and ranks. ML-SFT is this objective on the
language model alone, CC-Tuning the same on a model with a connection; nothing is added to the loss for it.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cc_tuning.training.collators import IGNORED_LABEL, Batch, Collator, ResponseCollator
from cc_tuning.training.dataset import RowContract, SequenceColumns
from cc_tuning.training.objectives.base import (
    Loss,
    Model,
    log_probabilities,
    model_inputs,
    read_at_labels,
    targets_of,
)


class SupervisedFineTuning:
    """Rows of one sequence, a prompt and its response; the loss is on the response alone."""

    contract = RowContract(schema="TrainingRow", sequences=(SequenceColumns("input_ids", "prompt_length"),))
    metrics: tuple[str, ...] = ()

    def collator(self, pad_token_id: int, inputs: Mapping[str, Path]) -> Collator:
        """Prompt and response, padded on the right."""
        return ResponseCollator(pad_token_id, self.contract.sequences)

    def count(self, batch: Batch) -> Tensor:
        """Response tokens, a scalar."""
        return targets_of(batch).ne(IGNORED_LABEL).sum()

    def loss(self, model: Model, batch: Batch, normaliser: Tensor) -> Loss:
        """The response tokens' negative log-likelihood, divided by how many there are in the step."""
        of_tokens = read_at_labels(model, model_inputs(batch), targets_of(batch), log_probabilities)
        return Loss(-of_tokens.sum() / normaliser, {})
