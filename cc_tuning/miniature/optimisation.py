"""A plain training loop for the tiny models: a fixed number of steps, so that equal inputs give equal weights."""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cc_tuning.progress import Progress
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)

_WARMUP_SHARE = 0.05
_LAST_RATE_SHARE = 0.05
_WEIGHT_DECAY = 0.1
_BETAS = (0.9, 0.98)
_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Training:
    """How long and how fast to learn."""

    steps: int
    learning_rate: float
    """The highest; reached after a short warm-up, then a cosine down to a twentieth."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warmup = max(1, round(_WARMUP_SHARE * self.steps))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * (_LAST_RATE_SHARE + (1 - _LAST_RATE_SHARE) * cosine)


def optimise(
    model: PreTrainedModel,
    batches: Iterator[Mapping[str, Tensor]],
    training: Training,
    losses_file: Path,
    progress: Progress,
) -> float:
    """Train `model` in place on the next `training.steps` batches; returns the mean loss of the last tenth.

    `losses_file` gets one JSON line per step: step, loss, learning_rate.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True
    )
    model.train()
    losses: list[float] = []
    with written_atomically(losses_file) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for step in range(training.steps):
            rate = training.rate(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = model(**{name: tensor.to(model.device) for name, tensor in next(batches).items()}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            lines.write(json.dumps({"step": step + 1, "loss": losses[-1], "learning_rate": rate}) + "\n")
            progress(step + 1, training.steps, "steps")
    model.eval()
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws first weights and dropout from `seed`; afterwards its generator goes on where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
