"""The loss of a model that learns without its connection what it says with it, token by token; in float64 where the
model is."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.reference.connection import run_row, straight_through


def distillation_loss(
    base: PreTrainedModel, weight: Tensor, rows: list[dict[str, Tensor]], noise: Tensor, distil_weight: float
) -> Tensor:
    """`(1 / N) sum_t [ - log p_c(y_t) + w sum_k p_c(k) (log p_c(k) - log p(k)) ]`, `p_c(k)` and its log a number.

    Rows as in `training_loss`; `weight [D, L]` is the Decision Maker's, `noise [B, L]`.
    """
    total, tokens = torch.zeros((), dtype=weight.dtype), 0
    for row, row_noise in zip(rows, noise, strict=True):
        place = int(row["position"])
        with torch.no_grad():
            _, english = run_row(base, row["english"], int(row["english_position"]))
        embedding = base.model.embed_tokens(row["ids"][place])
        g = straight_through((english + embedding).mean(0) @ weight, row_noise.to(weight.dtype), 1.0)
        vector = torch.stack([g[layer] * english[layer] for layer in range(len(english))]).sum(0)
        connected, _ = run_row(base, row["ids"], place, vector)
        plain, _ = run_row(base, row["ids"], place)
        for step in range(len(row["labels"]) - 1):
            label = int(row["labels"][step + 1])
            if label == -100:
                continue
            total = total - connected[step].log_softmax(-1)[label]
            teacher = connected[step].detach().log_softmax(-1)
            student = plain[step].log_softmax(-1)
            for k in range(len(teacher)):
                total = total + distil_weight * float(teacher[k].exp()) * (float(teacher[k]) - student[k])
            tokens += 1
    return total / tokens
