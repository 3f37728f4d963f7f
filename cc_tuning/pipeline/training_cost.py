"""Seconds and memory of a training, and what would make it fit a device that it does not fit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cc_tuning.pipeline.arithmetic import (
    LOGIT_COPIES,
    activation_bytes,
    optimizer_bytes,
    state_bytes,
    training_flops,
)
from cc_tuning.pipeline.model_shapes import ModelShape
from cc_tuning.runtime.device_table import Device
from cc_tuning.runtime.execution import Execution
from cc_tuning.training.config import TrainingConfig

_ATTENTION_SHARE = 1 / 3  # of a layer's weights: 4 D² of 12 D² (Kaplan et al. 2020, table 1)
_PASSES_OF_A_STEP = 3  # a forward pass and a backward pass of twice that
_MOST_SHARDS = 64
_LORA_RANK = 16


@dataclass(frozen=True)
class TrainingWork:
    """A training as the cost model sees it."""

    shape: ModelShape
    training: TrainingConfig
    execution: Execution
    rows: int
    row_tokens: int
    """Of all sequences of a row."""
    sequences: int
    """Of a row."""
    english_tokens: int
    """Of a row's English prompt where the connection reads it."""
    longest: int
    """Tokens of a sequence at most."""
    attention_alone: bool = False
    passes: int = 1

    def seconds(self, device: Device) -> float:
        """From the first step to the last, on `execution.processes` devices."""
        training, devices = self.training, self.execution.processes
        epochs, dtype = training.epochs, training.dtype
        tokens = self.rows * self.row_tokens * epochs * self.passes
        english = self.rows * self.english_tokens * epochs
        share = 0.0 if training.lora.rank else _ATTENTION_SHARE if self.attention_alone else 1.0
        flops = training_flops(
            self.shape.parameters, tokens, english, share, recomputed=self.execution.gradient_checkpointing
        )
        batch_tokens = min(self.execution.device_batch_size * self.row_tokens, self.execution.device_batch_tokens)
        batches = math.ceil(tokens / batch_tokens / devices)
        floor = batches * device.pass_seconds * (_PASSES_OF_A_STEP + (self.english_tokens > 0))
        steps = math.ceil(self.rows / training.global_batch_size) * epochs
        updated = 0.0 if training.lora.rank else optimizer_bytes(self.shape.parameters) / self._shards
        return max(flops / (devices * device.speed(dtype)), floor) + steps * updated / device.bytes_per_second

    @property
    def memory_bytes(self) -> float:
        """Of each device, in a micro-batch as large as `execution.device_batch_tokens` lets it be."""
        training, execution = self.training, self.execution
        whole_step = training.global_batch_size * self.sequences * self.longest
        tokens = min(max(execution.device_batch_tokens, self.longest), max(1, whole_step // execution.processes))
        kept = activation_bytes(self.shape, training.dtype, tokens, recomputed=execution.gradient_checkpointing)
        states = state_bytes(self.shape, training.dtype, training.optimizer, training.lora.rank, self._shards)
        return states + kept + LOGIT_COPIES * execution.device_logit_bytes

    @property
    def _shards(self) -> int:
        return 1 if self.execution.sharding == "none" else self.execution.processes


def what_fits(work: TrainingWork, memory_bytes: float) -> str:
    """Keys of the recipe that make `work` fit devices of `memory_bytes`; what changes the training is said to."""
    found = [words for words, other in _alternatives(work) if other.memory_bytes <= memory_bytes]
    same = next((words for words in found if "training." not in words), "")
    another = next((words for words in found if "training." in words), "")
    ways = [same] if same else []
    ways += [f"{another} (another training)"] if another else []
    return "set " + ", or ".join(ways) if ways else "take a device with more memory, or a smaller model"


def _alternatives(work: TrainingWork) -> Iterator[tuple[str, TrainingWork]]:
    """Other ways to run a training, the nearest first, and then other trainings."""
    lean = work.execution.model_copy(update={"gradient_checkpointing": True})
    recomputed = "execution.gradient_checkpointing=true"
    yield recomputed, replace(work, execution=lean)
    if work.training.optimizer == "adamw" or work.training.lora.rank:
        shards = max(2, work.execution.processes)
        while shards <= _MOST_SHARDS:
            sharded = {"processes": shards, "sharding": "fsdp2"}
            words = f"execution.processes={shards} and execution.sharding=fsdp2"
            yield words, replace(work, execution=work.execution.model_copy(update=sharded))
            yield f"{recomputed}, {words}", replace(work, execution=lean.model_copy(update=sharded))
            shards *= 2
    adafactor = work.training.model_copy(update={"optimizer": "adafactor"})
    yield f"{recomputed} and training.optimizer=adafactor", replace(work, execution=lean, training=adafactor)
    adapters = work.training.lora.model_copy(update={"rank": _LORA_RANK})
    lora = work.training.model_copy(update={"lora": adapters})
    yield f"{recomputed} and training.lora.rank={_LORA_RANK}", replace(work, execution=lean, training=lora)
