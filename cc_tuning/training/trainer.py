"""The Trainer of transformers with methods of its own: where its batches come from, and what it tells about them.

To the Trainer a batch is a whole optimizer step of its rank, so that the number of micro-batches may differ from step
to step: its own accumulation has a fixed number. What it sees beside that is its usual loop.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer

from cc_tuning.errors import ConfigError
from cc_tuning.model.decision_maker import DecisionMaker, temperature_at
from cc_tuning.training.collators import ConnectionCollator, ResponseCollator
from cc_tuning.training.dataset import TrainingRows
from cc_tuning.training.failures import check_finite, named_when_out_of_memory, named_when_out_of_memory_elsewhere
from cc_tuning.training.flops import flops_of_model, peak_flops
from cc_tuning.training.sampler import BatchShape, LengthGroupedBatches
from cc_tuning.training.step_batches import StepBatches, StepCollator
from cc_tuning.training.throughput import Measurements


class LengthGroupedTrainer(Trainer):
    """A Trainer whose ranks read `LengthGroupedBatches` of its `TrainingRows`.

    `rows` are trained, `collate` makes one micro-batch of them. `decision_maker_learning_rate` is the peak rate of the
    model's `decision_maker`, or None for that of the model. The loader is not prepared by accelerate: that would deal
    batches to ranks anew and repeat rows to make them even.

    Raises:
        TrainingFailed: the loss or the gradient norm is not finite, or memory ran out; the message names the rows.
        ConfigError: a rate for a Decision Maker that the model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: TrainingRows,
        collate: ResponseCollator,
        batch_shape: BatchShape,
        decision_maker_learning_rate: float | None = None,
        **named: Any,
    ) -> None:
        super().__init__(model, train_dataset=rows, **named)
        self._rows, self._collate, self._batch_shape = rows, collate, batch_shape
        self._decision_maker_learning_rate = decision_maker_learning_rate
        self._selector: nn.Module | None = getattr(model, "decision_maker", None)
        self._connection: Any = getattr(model, "connection", None)
        self._temperature: float | None = None
        self._is_idle = False
        config: Any = model.config
        self._measurements = Measurements(
            flops=flops_of_model(config, _trained_share(model)),
            peak=peak_flops(self.args.device, "bfloat16" if self.args.bf16 else "float32"),
            layers=config.num_hidden_layers if self._selector is not None else 0,
            device=self.args.device,
        )

    # -- batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The steps of this rank."""
        rows = self._rows
        reads_english = isinstance(self._collate, ConnectionCollator)
        batches = LengthGroupedBatches(
            rows.row_ids,
            rows.lengths,
            rows.english_lengths if reads_english else [0] * len(rows),
            self._batch_shape,
            self.args.seed,
            self.args.process_index,
        )
        return EpochDataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=StepCollator(self._collate),
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),  # the global one belongs to dropout
        )

    def _get_num_items_in_batch(self, batch_samples: Sequence[StepBatches], device: torch.device) -> Any:
        """The labels of the step over all ranks, by which the loss is divided."""
        micro_batches = [batch for step in batch_samples for batch in step.micro_batches]
        return super()._get_num_items_in_batch(micro_batches, device)

    # -- a step

    def train(self, *arguments: Any, **named: Any) -> Any:
        """As the Trainer's, but an error says so when memory runs out."""
        with named_when_out_of_memory_elsewhere():
            return super().train(*arguments, **named)

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The gradient of the step's mean loss over tokens; gives this rank's part of the loss, on the device.

        `inputs` are `StepBatches`.
        """
        step = self.state.global_step + 1
        self._measurements.start_step()
        self._set_temperature()
        losses = []
        for number, (batch, row_ids) in enumerate(zip(inputs.micro_batches, inputs.row_ids, strict=True)):
            is_last = number == len(inputs.micro_batches) - 1
            # Ranks add up their gradients after the last micro-batch, unless the engine's settings say otherwise.
            self.accelerator.gradient_state._set_sync_gradients(is_last)
            self._is_idle = not row_ids
            with named_when_out_of_memory(step, batch, row_ids), self._accumulation(model, is_last):
                losses.append(super().training_step(model, batch, num_items_in_batch))
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
        """As the Trainer's; the layers that were chosen are counted on the way."""
        if self._selector is not None:
            inputs = {**inputs, "measures_cosine": True}
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if outputs.get("selection") is not None and not self._is_idle:
            self._measurements.add_selection(
                outputs["selection"], outputs["selection_probabilities"], outputs["selection_cosine"]
            )
        return (loss, outputs) if return_outputs else loss

    # -- the Decision Maker

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As the Trainer's, with the Decision Maker in a group of its own when it has its own rate."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        rate = self._decision_maker_learning_rate
        if rate is not None and is_new:
            own = list(self._selector.parameters()) if self._selector is not None else []
            if not own:
                raise ConfigError(
                    f"training.decision_maker_learning_rate is {rate}, but this model has no trained Decision Maker; "
                    "leave it unset"
                )
            give_own_group(optimizer, own, rate)
        return optimizer

    def _set_temperature(self) -> None:
        if isinstance(self._selector, DecisionMaker) and self._connection is not None:
            progress = self.state.global_step / max(self.state.max_steps - 1, 1)
            temperature = temperature_at(self._connection, progress)
            if temperature != self._temperature:
                self._selector.temperature.fill_(temperature)
            self._temperature = temperature

    # -- lines

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what was measured to a line of the loss, for the log and every tracker."""
        if "loss" in logs:
            check_finite(logs, self._measurements.steps, self.state.global_step, self.state.max_steps)
            logs = {**logs, **self._in_force(logs["learning_rate"]), **self._measurements.take()}
        super().log(logs, start_time)

    def _in_force(self, learning_rate: float) -> dict[str, float]:
        fields = {} if self._temperature is None else {"temperature": round(self._temperature, 6)}
        if self._decision_maker_learning_rate is not None:
            # Both rates follow one schedule.
            share = learning_rate / self.args.learning_rate
            fields["decision_maker_learning_rate"] = self._decision_maker_learning_rate * share
        return fields


class EpochDataLoader(DataLoader[Any]):
    """A DataLoader that tells its batch sampler the epoch when the Trainer does."""

    def set_epoch(self, epoch: int) -> None:
        """Hand the epoch on."""
        assert isinstance(self.batch_sampler, LengthGroupedBatches)
        self.batch_sampler.set_epoch(epoch)


def give_own_group(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], rate: float) -> None:
    """Move `parameters` out of the optimizer's groups into a last one with the learning rate `rate`."""
    own = {id(parameter) for parameter in parameters}
    decay = 0.0
    for group in optimizer.param_groups:
        if any(id(parameter) in own for parameter in group["params"]):
            decay = group["weight_decay"]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]
    optimizer.add_param_group({"params": list(parameters), "lr": rate, "weight_decay": decay})


def _trained_share(model: nn.Module) -> float:
    """Of the weights, those with a gradient; ZeRO-3 leaves `ds_numel` on one that is elsewhere."""
    sizes = [(getattr(weight, "ds_numel", weight.numel()), weight.requires_grad) for weight in model.parameters()]
    return sum(size for size, is_trained in sizes if is_trained) / max(sum(size for size, _ in sizes), 1)
