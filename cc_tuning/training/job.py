"""What one training process is told: a TrainingJob as JSON, and the Trainer's arguments that follow from it."""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import TrainingArguments

from cc_tuning.errors import ConfigError
from cc_tuning.execution import Execution
from cc_tuning.training.config import TrainConfig

TRAINER, CHECKPOINT = "trainer", "checkpoint"
METRICS, SUMMARY = "metrics.jsonl", "summary.json"


class TrainingJob(BaseModel):
    """One run: its identity, its inputs on this machine, and where and how fast it goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: TrainConfig
    folder: Path = Field(description="Results; the Trainer's own checkpoints are in `trainer/` below it.")
    rows: Path = Field(description="training_rows.parquet.")
    tokenizer: Path = Field(description="The tokenizer that encoded the rows, with its chat template.")
    base: str = Field(description="Directory or hub id of the base model.")
    base_revision: str | None = Field(description="Revision of a hub id; none for a directory.")
    execution: Execution
    resume_from: Path | None = Field(default=None, description="A complete Trainer checkpoint; none starts anew.")


def device_type(execution: Execution) -> str:
    """`cuda` or `cpu`.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if execution.device == "cuda" and not available:
        raise ConfigError("execution.device is 'cuda', but this machine has no usable GPU; use 'auto' or 'cpu'")
    return "cuda" if available and execution.device != "cpu" else "cpu"


def accumulation_steps(global_batch_size: int, execution: Execution) -> int:
    """Micro-batches per optimizer step: `global_batch_size / (device_batch_size * processes)`.

    Raises:
        ConfigError: the division leaves a rest.
    """
    rows_at_once = execution.device_batch_size * execution.processes
    steps, rest = divmod(global_batch_size, rows_at_once)
    if rest or not steps:
        raise ConfigError(
            f"training.global_batch_size {global_batch_size} is not a multiple of execution.device_batch_size "
            f"{execution.device_batch_size} x execution.processes {execution.processes} = {rows_at_once}; change "
            "device_batch_size or processes, which only decide speed and memory"
        )
    return steps


def training_arguments(job: TrainingJob) -> TrainingArguments:
    """The Trainer's arguments: nothing is reported, drawn or uploaded, and a NaN is not filtered out of the log."""
    training, execution = job.config.training, job.execution
    on_cpu = device_type(execution) == "cpu"
    return TrainingArguments(
        output_dir=str(job.folder / TRAINER),
        num_train_epochs=training.epochs,
        learning_rate=training.learning_rate,
        warmup_steps=training.warmup_ratio,  # below 1 it is a share of the steps
        lr_scheduler_type=training.scheduler,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        per_device_train_batch_size=execution.device_batch_size,
        gradient_accumulation_steps=accumulation_steps(training.global_batch_size, execution),
        bf16=training.dtype == "bfloat16",
        seed=training.seed,
        data_seed=training.seed,
        activation_checkpointing=execution.gradient_checkpointing,
        # Re-entrant checkpointing gives wrong gradients when activations are captured (docs/deviations.md).
        activation_checkpointing_kwargs={"use_reentrant": False},
        logging_strategy="steps",
        logging_steps=execution.log_every_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=execution.checkpoint_every_steps,
        # Pruned by CheckpointManifests: the Trainer would delete the last complete checkpoint before the next is.
        save_total_limit=None,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        log_level="warning",
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        ddp_backend=("gloo" if on_cpu else "nccl") if execution.processes > 1 else None,
        ddp_find_unused_parameters=False,
        push_to_hub=False,
    )
