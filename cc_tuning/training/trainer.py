"""The Trainer of transformers with methods of its own: where its batches and its loss come from, and what it tells.

To the Trainer a batch is a whole optimizer step of its rank, so that the number of micro-batches may differ from step
to step: its own accumulation has a fixed number. What it sees beside that is its usual loop.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer

from cc_tuning.model.label_head import LOGIT_BYTES
from cc_tuning.training.collators import Collator, MicroBatch, StepBatches, StepCollator
from cc_tuning.training.connection import ConnectionTraining
from cc_tuning.training.dataset import Rows
from cc_tuning.training.distributed import reshard
from cc_tuning.training.failures import (
    check_finite,
    check_finite_validation,
    named_when_out_of_memory,
    named_when_out_of_memory_elsewhere,
)
from cc_tuning.training.flops import ModelFlops, peak_flops
from cc_tuning.training.objectives.base import CalledModel, Objective
from cc_tuning.training.sampler import BatchShape, LengthGroupedBatches
from cc_tuning.training.throughput import MeasuredStep, Measurements, RowFigures
from cc_tuning.training.trainer_checkpoints import checkpoint_of_step
from cc_tuning.training.validation import Validation


class LengthGroupedTrainer(Trainer):
    """A Trainer whose ranks read `LengthGroupedBatches` of `rows` and minimise `objective`.

    `collate` makes one micro-batch, with what the connection reads where there is one; `connection` is the connection's
    part in training, or None. `flops` are those of the model, `logit_bytes` what is held of float32 logits at most (but
    under DeepSpeed). With `validation` the loss of held-out rows is measured on the way, the lowest so far is saved,
    and `restore_best` takes it up. The loader is not prepared by accelerate: that would deal batches to ranks anew and
    repeat rows to make them even.

    Raises:
        TrainingFailed: the loss or the gradient norm is not finite, or memory ran out; the message names the rows.
    """

    loss_is_scaled_for_ga = True  # by the objective, over the step

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        rows: Rows,
        collate: Collator,
        batch_shape: BatchShape,
        flops: ModelFlops,
        connection: ConnectionTraining | None = None,
        validation: Validation | None = None,
        logit_bytes: int = LOGIT_BYTES,
        **named: Any,
    ) -> None:
        super().__init__(model, train_dataset=rows, **named)
        self._objective, self._connection, self._logit_bytes = objective, connection, logit_bytes
        self._rows, self._collate, self._batch_shape, self._validation = rows, collate, batch_shape, validation
        device = self.args.device
        self._figures = RowFigures(objective.metrics, (), device)
        self._choices = RowFigures((), (), device) if connection is None else connection.figures(device)
        peak = peak_flops(device, "bfloat16" if self.args.bf16 else "float32")
        self._measurements = Measurements(flops, peak, device, (self._figures, self._choices))

    # -- batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The steps of this rank."""
        return self._loader(self._rows, self._collate)

    def _loader(self, rows: Rows, collate: Collator) -> DataLoader[Any]:
        batches = LengthGroupedBatches(
            rows.row_ids,
            rows.lengths,
            0 * rows.english_lengths if self._connection is None else rows.english_lengths,
            self._batch_shape,
            self.args.seed,
            self.args.process_index,
        )
        return EpochDataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=StepCollator(collate),
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),  # the global one belongs to dropout
        )

    def _get_num_items_in_batch(self, batch_samples: Sequence[StepBatches], device: torch.device) -> Tensor:
        """What the loss of the step is divided by: the objective's count over all ranks, float32."""
        counts = [
            self._objective.count(batch) * (not is_idle)
            for step in batch_samples
            for batch, _, is_idle in step.micro_batches
        ]
        total: Tensor = self.accelerator.reduce(torch.stack(counts).sum(0).to(device), "sum")
        return total.float()

    # -- a step

    def train(self, *arguments: Any, **named: Any) -> Any:
        """As the Trainer's, but an error says so when memory runs out."""
        with named_when_out_of_memory_elsewhere():
            return super().train(*arguments, **named)

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The gradient of the step's loss; gives this rank's part of the loss, on the device.

        `inputs` are `StepBatches`.
        """
        step = self.state.global_step + 1
        self._measurements.start_step()
        if self._connection is not None:
            self._connection.set_progress(self.state.global_step / max(self.state.max_steps - 1, 1))
        losses = []
        for number, micro_batch in enumerate(inputs.micro_batches):
            is_last = number == len(inputs.micro_batches) - 1
            # Ranks add up their gradients after the last micro-batch, unless the engine's settings say otherwise.
            self.accelerator.gradient_state._set_sync_gradients(is_last)
            with named_when_out_of_memory(step, micro_batch), self._accumulation(model, is_last):
                losses.append(super().training_step(model, micro_batch._asdict(), num_items_in_batch))
        stacked = torch.stack(losses)
        self._measurements.add_step(step, inputs, stacked)
        return stacked.sum()

    def _accumulation(self, model: nn.Module, is_last: bool) -> Any:
        sync_each = self.accelerator.gradient_state.plugin_kwargs.get("sync_each_batch", False)
        is_deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        return nullcontext() if is_last or sync_each or is_deepspeed else self.accelerator.no_sync(model)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective's loss of one micro-batch, given as a mapping of its fields; metrics are kept on the way."""
        assert isinstance(num_items_in_batch, Tensor)
        batch, _, is_idle = MicroBatch(**inputs)
        called = self._called(model, partial(self._forward, model, is_idle))
        loss, metrics = self._objective.loss(called, batch, num_items_in_batch)
        if is_idle:
            loss = 0 * loss  # the pass keeps this rank in step with the others
        elif metrics:
            self._figures.add(torch.stack([metrics[name] for name in self._objective.metrics], dim=1))
        # Ranks take the mean of their gradients, and each has its part of one loss.
        loss = loss * self.accelerator.num_processes
        return (loss, metrics) if return_outputs else loss

    def _called(self, model: nn.Module, call: Callable[..., Any]) -> CalledModel:
        """`model` without what the engine has around it, called by `call`."""
        # Under ZeRO-3 a module gathers its weights call by call; its head was not tried on parts.
        is_deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        return CalledModel(self.accelerator.unwrap_model(model), call, None if is_deepspeed else self._logit_bytes)

    def _forward(self, model: nn.Module, is_idle: bool, /, **inputs: Any) -> Any:
        """The model's output; what the connection chose is kept on the way."""
        if self._connection is None:
            return model(**inputs)
        output = model(**inputs, measures_cosine=True)
        if not is_idle:
            self._choices.add(self._connection.choices(output))
            self._connection.observe(output)
        return output

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As the Trainer's, with the Decision Maker in a group of its own when it has its own rate."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new and self._connection is not None:
            self._connection.give_own_rate(optimizer)
        return optimizer

    # -- lines

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what was measured to a line of the loss, for the log and every tracker."""
        if "loss" in logs:
            check_finite(logs, self._measurements.steps, self.state.global_step, self.state.max_steps)
            share = logs["learning_rate"] / self.args.learning_rate
            in_force = {} if self._connection is None else self._connection.in_force(share)
            logs = {**logs, **in_force, **self._measurements.take()}
            if self._validation is not None and self._validation.is_due(self.state.global_step, self.state.max_steps):
                logs["validation_loss"] = self._validate(self._validation)
                self._measurements.restart_clock()
        super().log(logs, start_time)

    # -- held-out rows

    def _validate(self, validation: Validation) -> float:
        """The loss of the held-out rows now. The lowest so far is saved, and noted in the state of all checkpoints."""
        loss = self._validation_loss(validation)
        if self.state.best_metric is None or loss < self.state.best_metric:
            self.state.best_metric, self.state.best_global_step = loss, self.state.global_step
            self.control.should_save = True
        return loss

    def _validation_loss(self, validation: Validation) -> float:
        """The objective's loss over the held-out rows, divided by their count over all ranks."""
        parts, row_ids = [], []
        for micro_batch, part in self.evaluated(validation.rows, validation.collate):
            parts.append(torch.zeros_like(part).double() if micro_batch.is_idle else part.double())
            row_ids.append([] if micro_batch.is_idle else micro_batch.row_ids)
        losses = torch.stack(parts)
        total = float(self.accelerator.reduce(losses.sum(), "sum"))
        check_finite_validation(total, MeasuredStep(self.state.global_step, row_ids, losses), self.state.max_steps)
        return total

    def evaluated(self, rows: Rows, collate: Collator) -> Iterator[tuple[MicroBatch, Tensor]]:
        """Each micro-batch of `rows` on this rank and its part of the loss over all of them, without a gradient.

        The model is in evaluation mode until the last one. Every rank must take them all.
        """
        batches = list(self._loader(rows, collate))
        count = self._get_num_items_in_batch(batches, self.args.device)
        model = self.model_wrapped.eval()
        for micro_batch in (micro_batch for batch in batches for micro_batch in batch.micro_batches):
            named = named_when_out_of_memory(self.state.global_step, micro_batch)
            with named, torch.no_grad(), self.compute_loss_context_manager():
                batch = self._prepare_inputs(micro_batch.batch)
                part = self._objective.loss(self._called(model, model), batch, count).loss
            yield micro_batch, part
        reshard(model)
        model.train()

    def restore_best(self) -> int:
        """Take up the weights with the lowest validation loss, if rows are held out; gives the step they are of.

        Every rank must call it.
        """
        last, best = self.state.global_step, self.state.best_global_step
        if best is None or best == last:
            return last
        assert self.args.output_dir is not None
        folder = checkpoint_of_step(Path(self.args.output_dir), best)
        self._load_from_checkpoint(str(folder), self.model_wrapped if self.is_fsdp_enabled else self.model)
        return best


class EpochDataLoader(DataLoader[Any]):
    """A DataLoader that tells its batch sampler the epoch when the Trainer does."""

    def set_epoch(self, epoch: int) -> None:
        """Hand the epoch on."""
        assert isinstance(self.batch_sampler, LengthGroupedBatches)
        self.batch_sampler.set_epoch(epoch)
