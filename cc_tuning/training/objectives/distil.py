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
from cc_tuning.training.objectives.base import Loss, Model, model_inputs, negative_log_likelihood, targets_of
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
        output = model(**model_inputs(batch), with_unconnected=True)
        targets = targets_of(batch)
        likelihood = negative_log_likelihood(output.logits, targets)
        divergence = divergences(output.logits, output.unconnected_logits, targets)
        loss = (likelihood + self._weight * divergence.sum()) / normaliser
        tokens = targets.ne(IGNORED_LABEL).sum(1).clamp(min=1).to(divergence.device)
        return Loss(loss, {DIVERGENCE: divergence.detach().sum(1) / tokens})


def divergences(connected: Tensor, unconnected: Tensor, targets: Tensor) -> Tensor:
    """`KL(p_c || p) [B, K]` in nats, float32 or wider: of each position with a label, 0 elsewhere.

    `connected` and `unconnected` are logits `[B, K, V]` in any dtype, `targets [B, K]`; no gradient flows into the
    first. Positions without a label are left out before the softmax, which over a large vocabulary is the memory.
    """
    is_trained = targets.to(connected.device).ne(IGNORED_LABEL)
    dtype = torch.promote_types(connected.dtype, torch.float32)
    teacher = connected.detach()[is_trained].to(dtype).log_softmax(-1)
    student = unconnected[is_trained].to(dtype).log_softmax(-1)
    each = (teacher.exp() * (teacher - student)).sum(-1)
    return torch.zeros(is_trained.shape, dtype=dtype, device=each.device).masked_scatter(is_trained, each)
