"""Cross-Lingual Optimization: answer in the language of the prompt, in both languages at once.

    L    = lambda L_SFT + (1 - lambda) L_CL                                            (Lee et al. 2025, eq. 3 to 7)
    L_CL = mean over rows of [- log sigmoid(z_en) - log sigmoid(z_t)]
    z_en = beta [log pi(y_en|x_en)/ref(y_en|x_en) - log pi(y|x_en)/ref(y|x_en)]
    z_t  = beta [log pi(y|x)/ref(y|x) - log pi(y_en|x)/ref(y_en|x)]

`L_SFT` is the mean negative log-likelihood per token of `y` given `x`, over the tokens of the optimizer step as in
`sft.py`; with `sft_on: both`, of `y_en` given `x_en` too. All four sequences of a row are in one batch.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cc_tuning.training.collators import IGNORED_LABEL, Batch, Collator, ResponseCollator
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

_SFT_SEQUENCES = {"target": [0], "both": [0, 2]}
"""Places of the chosen sequences that are fine-tuned on."""


class CrossLingualOptimization:
    """Rows of four sequences: fine-tuning on the target language beside a preference in each language."""

    contract = FOUR_SEQUENCES
    metrics = MARGIN_METRICS

    def __init__(self, preference: PreferenceConfig) -> None:
        self._beta, self._sft_weight = preference.beta, preference.sft_weight
        self._sft_sequences = _SFT_SEQUENCES[preference.sft_on]

    def collator(self, pad_token_id: int, inputs: Mapping[str, Path]) -> Collator:
        """Reads what the reference model says from the artifact `reference`."""
        responses = ResponseCollator(pad_token_id, self.contract.sequences)
        return ReferenceCollator(responses, read_reference(inputs[REFERENCE]))

    def count(self, batch: Batch) -> Tensor:
        """Response tokens of what is fine-tuned on, and rows: `[2]`."""
        targets = targets_of(batch)
        of_rows = targets.view(-1, self.contract.sequences_per_row, targets.shape[-1])
        tokens = of_rows[:, self._sft_sequences].ne(IGNORED_LABEL).sum()
        return torch.stack([tokens, torch.tensor(len(of_rows), device=tokens.device)])

    def loss(self, model: Model, batch: Batch, normaliser: Tensor) -> Loss:
        """Both parts, each divided by what there is of it in the step; the margins of both languages are logged."""
        of_policy = sequence_log_probabilities(model, batch)
        of_rows = margins(of_policy, batch, self._beta)
        tokens, rows = normaliser
        fine_tuning = -of_policy[:, self._sft_sequences].sum() / tokens
        preference = -nn.functional.logsigmoid(of_rows).sum() / rows
        loss = self._sft_weight * fine_tuning + (1 - self._sft_weight) * preference
        return Loss(loss, margin_metrics(of_rows))
