"""The arguments of the Trainer that follow from a job."""

from typing import Any

from transformers import TrainingArguments

from cc_tuning.training.distributed import engine_arguments
from cc_tuning.training.job import TRAINER, TrainingJob, device_type


def training_arguments(job: TrainingJob) -> TrainingArguments:
    """The Trainer's arguments: nothing is drawn or uploaded, and a NaN is not filtered out of the log.

    Raises:
        ConfigError: the device is not there, or the engine cannot do what the job asks for.
    """
    training, execution = job.config.training, job.execution
    on_cpu = device_type(execution) == "cpu"
    values: dict[str, Any] = {
        "output_dir": str(job.folder / TRAINER),
        "num_train_epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "warmup_steps": training.warmup_ratio,  # below 1 it is a share of the steps
        "lr_scheduler_type": training.scheduler,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "per_device_train_batch_size": execution.device_batch_size,
        "gradient_accumulation_steps": 1,  # a batch of LengthGroupedTrainer is a whole step
        "bf16": training.dtype == "bfloat16",
        "seed": training.seed,
        "data_seed": training.seed,
        "activation_checkpointing": execution.gradient_checkpointing,
        # Re-entrant checkpointing gives wrong gradients when activations are captured (docs/deviations.md).
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "logging_strategy": "steps",
        "logging_steps": execution.log_every_steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": execution.checkpoint_every_steps,
        # Pruned by CheckpointManifests: the Trainer would delete the last complete checkpoint before the next is.
        "save_total_limit": None,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "report_to": list(execution.report_to) or "none",
        "disable_tqdm": True,
        "log_level": "warning",
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "ddp_backend": ("gloo" if on_cpu else "nccl") if execution.processes > 1 else None,
        "ddp_find_unused_parameters": False,
        "push_to_hub": False,
    }
    if training.minimum_learning_rate:
        # As a share, so that the Decision Maker's own rate falls alike.
        share = training.minimum_learning_rate / training.learning_rate
        values |= {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": share}}
    if training.optimizer == "adafactor":
        values["optim"] = "adafactor"
    return TrainingArguments(**(values | engine_arguments(job)))
