"""A plain training loop for the tiny models: a fixed number of steps, so that equal inputs give equal weights."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cc_tuning.miniature.muon import Muon
from cc_tuning.runtime.progress import Progress
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)

_WARMUP_SHARE = 0.05
_LAST_RATE_SHARE = 0.05
_MATRIX_RATE = 0.012
_OTHER_RATE = 8e-3
_BETAS = (0.9, 0.98)
_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Training:
    """The length of a training, and the course of its learning rates."""

    steps: int
    highest: float = 1.0
    """Share of the usual learning rates that it rises to."""

    def rate_share(self, step: int) -> float:
        """`highest` at the end of a short warm-up, then a cosine down to a twentieth of it; steps count from 0."""
        warmup = max(1, round(_WARMUP_SHARE * self.steps))
        if step < warmup:
            return self.highest * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.highest * (_LAST_RATE_SHARE + (1 - _LAST_RATE_SHARE) * cosine)


def optimise(
    model: PreTrainedModel,
    batches: Iterator[Mapping[str, Tensor]],
    loss_of: Callable[[Mapping[str, Tensor]], Tensor],
    training: Training,
    losses_file: Path,
    progress: Progress,
) -> float:
    """Train `model` in place on the next `training.steps` batches; returns the mean loss of the last tenth.

    `loss_of` is the model's mean loss on a batch on its own device.
    `losses_file` gets one JSON line per step: step, loss, learning_rate (that of the matrices).
    """
    optimizers = _optimizers(model)
    highest = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    model.train()
    losses: list[float] = []
    with written_atomically(losses_file) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for step in range(training.steps):
            share = training.rate_share(step)
            for group, rate in highest:
                group["lr"] = share * rate
            batch = {name: tensor.to(model.device) for name, tensor in next(batches).items()}
            losses.append(_step(model, loss_of(batch), optimizers))
            line = {"step": step + 1, "loss": losses[-1], "learning_rate": share * _MATRIX_RATE}
            lines.write(json.dumps(line) + "\n")
            progress(step + 1, training.steps, "steps")
    model.eval()
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def _step(model: PreTrainedModel, loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> float:
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _optimizers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, norms and biases.

    With AdamW for everything the base model had learned a fifth of its facts after the same number of steps, with
    Muon three fifths (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).
    """
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    embedded = {id(parameter) for end in ends if end is not None for parameter in end.parameters()}
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for parameter in model.parameters():
        inside = parameter.ndim == 2 and id(parameter) not in embedded
        (matrices if inside else others).append(parameter)
    return [
        Muon(matrices, lr=_MATRIX_RATE),
        torch.optim.AdamW(others, lr=_OTHER_RATE, betas=_BETAS, weight_decay=0.0, fused=True),
    ]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block in which torch draws weights and dropout from `seed`; after it, the generator goes on where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
