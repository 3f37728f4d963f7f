"""The objectives over two languages, one row and one token at a time, written from the formulas of the papers.

Everything is in the dtype of the model. A row is a mapping with the four sequences (ids and where the response begins)
and what the reference model says of each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Sequence_ = tuple[Sequence[int], int]
SlowRow = Mapping[str, Any]


def log_probability(model: Any, sequence: Sequence_) -> Tensor:
    """`log pi(y | x)`: the response is what stands behind the prompt."""
    ids, prompt_length = sequence
    logits = model(torch.tensor([list(ids)])).logits[0]
    total = torch.zeros((), dtype=logits.dtype)
    for place in range(prompt_length, len(ids)):
        scores = logits[place - 1]
        total = total + scores[ids[place]] - torch.log(torch.exp(scores).sum())
    return total


def margin(model: Any, row: SlowRow, chosen: str, rejected: str, beta: float) -> Tensor:
    """`beta [log pi(chosen)/ref(chosen) - log pi(rejected)/ref(rejected)]`."""
    won = log_probability(model, row[chosen]) - row["reference"][chosen]
    lost = log_probability(model, row[rejected]) - row["reference"][rejected]
    return beta * (won - lost)


def minus_log_sigmoid(value: Tensor) -> Tensor:
    """`- log(1 / (1 + exp(-value)))`."""
    return -torch.log(1 / (1 + torch.exp(-value)))


def clo_loss(model: Any, rows: Sequence[SlowRow], beta: float, weight: float, fine_tuned: Sequence[str]) -> Tensor:
    """Lee et al. 2025, eq. 3 to 7; `fine_tuned` are the sequences whose responses the first part is a mean over."""
    log_likelihood, tokens, preference = torch.zeros(()), 0, torch.zeros(())
    for row in rows:
        for name in fine_tuned:
            ids, prompt_length = row[name]
            log_likelihood = log_likelihood + log_probability(model, row[name])
            tokens += len(ids) - prompt_length
        z_target = margin(model, row, "chosen", "rejected", beta)
        z_english = margin(model, row, "english_chosen", "english_rejected", beta)
        preference = preference + minus_log_sigmoid(z_english) + minus_log_sigmoid(z_target)
    return -weight * log_likelihood / tokens + (1 - weight) * preference / len(rows)


def dpo_loss(model: Any, rows: Sequence[SlowRow], beta: float) -> Tensor:
    """Rafailov et al. 2023, eq. 7, over two examples a row."""
    losses = []
    for row in rows:
        losses.append(minus_log_sigmoid(margin(model, row, "chosen", "rejected", beta)))
        losses.append(minus_log_sigmoid(margin(model, row, "english_chosen", "english_rejected", beta)))
    return torch.stack(losses).mean()
