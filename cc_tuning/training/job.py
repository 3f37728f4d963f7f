"""What one training process is told: a TrainingJob, handed over as JSON."""

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.execution import Execution
from cc_tuning.training.config import TrainConfig
from cc_tuning.training.sampler import BatchShape

TRAINER = "trainer"


class TrainingJob(BaseModel):
    """One run: its identity, its inputs on this machine, and where and how fast it goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: TrainConfig
    folder: Path = Field(description="Results; the Trainer's own checkpoints are in `trainer/` below it.")
    rows: Path = Field(description="The file of the training rows, of which the checkpoint records the sha256.")
    tokenizer: Path = Field(description="The tokenizer that encoded the rows, with its chat template.")
    base: str = Field(description="Directory or hub id of the base model.")
    base_revision: str | None = Field(description="Revision of a hub id; none for a directory.")
    inputs: Mapping[str, Path] = Field(
        default_factory=dict, description="Folders of further artifacts by name, for an objective that reads some."
    )
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


def batch_shape(job: TrainingJob, pass_tokens: float = 0.0) -> BatchShape:
    """How the rows of a step spread over micro-batches, each of which costs `pass_tokens` by itself, and processes."""
    execution = job.execution
    return BatchShape(
        global_batch_size=job.config.training.global_batch_size,
        device_batch_size=execution.device_batch_size,
        device_batch_tokens=execution.device_batch_tokens,
        max_padding=execution.max_padding,
        ranks=execution.processes,
        pass_tokens=pass_tokens,
    )
