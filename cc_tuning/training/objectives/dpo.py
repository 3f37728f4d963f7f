"""Direct Preference Optimization over the pairs of two languages, each language's example by itself.

    L = - mean log sigmoid(beta [log pi(y_w|x)/ref(y_w|x) - log pi(y_l|x)/ref(y_l|x)])     (Rafailov et al. 2023, eq. 7)

A preference row gives two examples: its prompt, whose response is preferred to the English one, and the English prompt,
whose English response is preferred. It is the comparison of Lee et al. 2025 (SFT+DPO), which starts from a fine-tuned
model; that model is then the reference too.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cc_tuning.training.collators import Batch, Collator, ResponseCollator
from cc_tuning.training.objectives.base import Loss, Model, targets_of
from cc_tuning.training.objectives.config import PreferenceConfig
from cc_tuning.training.objectives.pairs import (
    FOUR_SEQUENCES,
    MARGIN_METRICS,
    ReferenceCollator,
    margin_metrics,
    margins,
    sequence_log_probabilities,
)
from cc_tuning.training.objectives.table import REFERENCE
from cc_tuning.training.reference_values import read_reference


class DirectPreferenceOptimization:
    """Rows of four sequences: the preference alone, without fine-tuning."""

    contract = FOUR_SEQUENCES
    metrics = MARGIN_METRICS

    def __init__(self, preference: PreferenceConfig) -> None:
        self._beta = preference.beta

    def collator(self, pad_token_id: int, inputs: Mapping[str, Path]) -> Collator:
        """Reads what the reference model says from the artifact `reference`."""
        responses = ResponseCollator(pad_token_id, self.contract.sequences)
        return ReferenceCollator(responses, read_reference(inputs[REFERENCE]))

    def count(self, batch: Batch) -> Tensor:
        """Examples, two for each row: a scalar."""
        return torch.tensor(len(targets_of(batch)) // 2)

    def loss(self, model: Model, batch: Batch, normaliser: Tensor) -> Loss:
        """The sum over the examples of the micro-batch, divided by how many there are in the step."""
        of_rows = margins(sequence_log_probabilities(model, batch), batch, self._beta)
        return Loss(-nn.functional.logsigmoid(of_rows).sum() / normaliser, margin_metrics(of_rows))
