"""CC-Tuning and ML-SFT of a small real model: the same rows in the same order, AdamW, float32 weights.

What `benchmarks/gpu.py` trains in minutes; the training stage has schedules, checkpoints and several devices besides.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.transform.activations import SampledPair, sampled_activations
from cc_tuning.transform.fitting import add_rows
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.solve import fit_transform_matrix
from gpu_parts.board import Board
from gpu_parts.rows import Batch, Collator, Row, own_side

EPOCHS, BATCH_ROWS, DEVICE_ROWS, WARM_UP_STEPS = 3, 32, 8, 10
FITTED_PAIRS = 1000  # the paper's

LossOf = Callable[[Batch, int], Tensor]
"""The loss of a micro-batch: its sum over labelled tokens, divided by those of the whole step."""


@dataclass(frozen=True)
class Experiment:
    """What both methods share."""

    model: str
    training: Sequence[Row]
    held_out: Sequence[Row]
    collate: Collator
    learning_rate: float

    def load(self) -> PreTrainedModel:
        """The model with float32 weights, before any training."""
        base = AutoModelForCausalLM.from_pretrained(
            self.model, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
        return nn.Module.to(base, self.collate.device)

    def train(self, model: nn.Module, loss_of: LossOf, most_steps: int, seconds: float) -> tuple[int, float]:
        """AdamW at a constant rate after a warm-up, for so many steps or seconds; the steps taken, and the last loss.

        Passes are bfloat16 on a GPU, under autocast, as in the training stage.
        """
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.learning_rate, weight_decay=0.0)
        rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda number: min(1.0, (number + 1) / WARM_UP_STEPS))
        deadline, taken, loss = time.monotonic() + seconds, 0, math.nan
        model.train()
        for rows in self._steps():
            if taken == most_steps or (taken and time.monotonic() > deadline):
                break
            loss = self._gradient(rows, loss_of)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad(set_to_none=True)
            taken += 1
        model.eval()
        return taken, loss

    def batches(self, rows: Sequence[Row]) -> Iterator[Batch]:
        """`rows` in their order, a few at a time."""
        for first in range(0, len(rows), DEVICE_ROWS):
            yield self.collate(rows[first : first + DEVICE_ROWS])

    def _steps(self) -> Iterator[list[Row]]:
        """The rows of each step, in another order in each epoch; the same whenever it is called."""
        draw = torch.Generator().manual_seed(0)
        for _ in range(EPOCHS):
            order = torch.randperm(len(self.training), generator=draw).tolist()
            for first in range(0, len(order), BATCH_ROWS):
                yield [self.training[place] for place in order[first : first + BATCH_ROWS]]

    def _gradient(self, rows: Sequence[Row], loss_of: LossOf) -> float:
        """Add the gradient of a step's rows; their loss."""
        tokens, total = sum(row.response_tokens for row in rows), 0.0
        for batch in self.batches(rows):
            device = self.collate.device
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = loss_of(batch, tokens)
            loss.backward()
            total += float(loss.detach())
        return total


def tuned_connection(experiment: Experiment, seconds: float, board: Board) -> tuple[CrossLingualModel, int]:
    """The model after CC-Tuning, with its Transform Matrix, and the steps it took."""
    torch.manual_seed(0)  # the new selector, and the noise of its decisions
    model = CrossLingualModel.from_base(experiment.load(), ConnectionConfig(offset=experiment.collate.offset))
    model.to(experiment.collate.device)

    def loss_of(batch: Batch, tokens: int) -> Tensor:
        loss: Tensor = model(**batch, logits_to_keep=batch["labels"].shape[1], num_items_in_batch=tokens).loss
        return loss

    steps, loss = experiment.train(model, loss_of, most_steps=10**9, seconds=seconds)
    board.add("CC-Tuning, training", steps=steps, last_loss=loss)
    pairs = [
        SampledPair(str(place), row.input_ids[: row.prompt_length], row.english_input_ids)
        for place, row in enumerate(experiment.training[:FITTED_PAIRS])
    ]
    moments = StreamingMoments(model.config.hidden_size, model.device)
    add_rows(moments, sampled_activations(model, pairs, DEVICE_ROWS, experiment.collate.padding_id))
    fit = fit_transform_matrix(moments)
    model.set_transform_matrix(fit.matrix)
    board.add("Transform Matrix", pairs=len(pairs), rank=fit.rank, mse=moments.mean_squared_error(fit.matrix))
    return model, steps


def tuned_base(experiment: Experiment, steps: int, board: Board) -> PreTrainedModel:
    """The model after as many steps of ML-SFT."""
    base = experiment.load()

    def loss_of(batch: Batch, tokens: int) -> Tensor:
        kept = batch["labels"].shape[1]
        given = own_side(batch) | {"labels": batch["labels"]}
        loss: Tensor = base(**given, logits_to_keep=kept, num_items_in_batch=tokens, use_cache=False).loss
        return loss

    steps, loss = experiment.train(base, loss_of, steps, seconds=math.inf)
    board.add("ML-SFT, training", steps=steps, last_loss=loss)
    return base
