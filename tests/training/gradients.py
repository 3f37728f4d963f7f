"""The gradients of one optimizer step under the engines: `python -m tests.training.gradients JOB.json ...`.

Each job's folder gets `gradients.safetensors`, whole tensors by parameter name.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from cc_tuning.runtime.subprocesses import die_with_parent
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.training.arguments import training_arguments
from cc_tuning.training.distributed import as_launched
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.models import build_model, compile_blocks
from cc_tuning.training.objectives.table import load_objective
from cc_tuning.training.parquet_rows import read_rows
from cc_tuning.training.run import build_trainer
from cc_tuning.training.validation import split_rows

GRADIENTS = "gradients.safetensors"


class Recorded(TrainerCallback):
    """Whole gradients by name, before the first step; then training stops."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for name, parameter in kwargs["model"].named_parameters():
            if parameter.requires_grad:
                self.gradients[name.removeprefix("module.")] = _whole_gradient(parameter)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_training_stop = True


def gradients_of(job: TrainingJob, backend: str = "inductor") -> dict[str, Tensor]:
    """The gradients of a job's first step, on every rank."""
    torch.set_num_threads(job.execution.threads)
    arguments = training_arguments(job)
    set_seed(job.config.training.seed)
    tokenizer = load_tokenizer(job.tokenizer)
    model = build_model(job, tokenizer)
    _fill_adapter(model.trained)
    if job.execution.compile:
        compile_blocks(model.base, backend)
    rows = read_rows(job.rows, load_objective(job.config.objective).contract)
    trainer = build_trainer(job, model, arguments, split_rows(rows, 0.0, seed=0), tokenizer)
    recorded = Recorded()
    trainer.add_callback(recorded)
    trainer.train()
    return recorded.gradients


def forget_engine() -> None:
    """Let accelerate start anew in this process, with another engine."""
    AcceleratorState._reset_state(reset_partial_state=True)
    for engine in ("FSDP", "DEEPSPEED"):
        os.environ.pop(f"ACCELERATE_USE_{engine}", None)


def _fill_adapter(model: nn.Module) -> None:
    """An adapter starts at zero and gives its first matrix no gradient."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def _whole_gradient(parameter: nn.Parameter) -> Tensor:
    if hasattr(parameter, "ds_id"):
        from deepspeed.utils import safe_get_full_grad

        gradient: Tensor = safe_get_full_grad(parameter)
    else:
        assert parameter.grad is not None
        gradient = parameter.grad
    whole = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
    return whole.detach().clone().float().cpu()


if __name__ == "__main__":
    die_with_parent(os.getppid(), signal.SIGKILL)
    for file in sys.argv[1:]:
        forget_engine()
        job = as_launched(TrainingJob.model_validate_json(Path(file).read_text(encoding="utf-8")))
        gradients = gradients_of(job)
        if torch.distributed.get_rank() == 0:
            save_file(gradients, job.folder / GRADIENTS)
    torch.distributed.destroy_process_group()
