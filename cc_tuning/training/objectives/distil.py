"""Learning without the connection what the model says with it, so that at inference nothing English is needed.

    L = (1 / N) sum_i sum_t [ - log p_c(y_i,t | x_i, y_i,<t) + w KL( p_c(. | x_i, y_i,<t) || p(. | x_i, y_i,<t) ) ]

with `p_c` the model with the vector of the English prompt added at t*, `p` the same weights with nothing added, `N` the
response tokens of the optimizer step and `w` `training.distil_weight`. The first term is that of `sft.py` through the
connection: it keeps `p_c` worth learning from. `p_c` is a target in the second and takes no gradient from it, so it is
not drawn to what the model says without English. The distributions are over the whole vocabulary, in the manner of
Hinton et al. 2015 (arXiv 1503.02531) at temperature 1; the teacher is not fixed but trained beside the student.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cc_tuning.training.collators import IGNORED_LABEL, Batch, Collator
from cc_tuning.training.objectives.base import (
    Loss,
    Model,
    at_their_places,
    log_probabilities,
    model_inputs,
    read_at_labels,
    targets_of,
)
from cc_tuning.training.objectives.sft import SupervisedFineTuning

DIVERGENCE = "distil_divergence"
"""The metric: the mean over a row's response tokens of the divergence, in nats."""


class ConnectionDistillation:
    """Rows of one sequence, each read twice: with the connection and without it."""

    contract = SupervisedFineTuning.contract
    metrics: tuple[str, ...] = (DIVERGENCE,)

    def __init__(self, weight: float) -> None:
        self._weight, self._fine_tuning = weight, SupervisedFineTuning()

    def collator(self, pad_token_id: int, inputs: Mapping[str, Path]) -> Collator:
        """As of supervised fine-tuning."""
        return self._fine_tuning.collator(pad_token_id, inputs)

    def count(self, batch: Batch) -> Tensor:
        """Response tokens, a scalar."""
        return self._fine_tuning.count(batch)

    def loss(self, model: Model, batch: Batch, normaliser: Tensor) -> Loss:
        """Both terms, divided by how many response tokens there are in the step."""
        targets = targets_of(batch)
        inputs: Batch = {**model_inputs(batch), "with_unconnected": True}
        likelihood, divergence = read_at_labels(model, inputs, targets, _both_terms, passes=2).unbind(1)
        loss = (-likelihood.sum() + self._weight * divergence.sum()) / normaliser
        of_rows = at_their_places(divergence.detach(), targets).sum(1)
        tokens = targets.ne(IGNORED_LABEL).sum(1).clamp(min=1).to(divergence.device)
        return Loss(loss, {DIVERGENCE: of_rows / tokens})


def _both_terms(connected: Tensor, unconnected: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([log_probabilities(connected, labels), divergences(connected, unconnected)], dim=1)


def divergences(connected: Tensor, unconnected: Tensor) -> Tensor:
    """`KL(p_c || p) [N]` in nats, float32 or wider, from logits `[N, V]`; no gradient flows into `connected`."""
    dtype = torch.promote_types(connected.dtype, torch.float32)
    teacher, student = (logits.to(dtype).log_softmax(-1) for logits in (connected.detach(), unconnected))
    return (teacher.exp() * (teacher - student)).sum(-1)
