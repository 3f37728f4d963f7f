"""How several training processes hold one model: whole on each of them (DDP), or in parts (FSDP2, DeepSpeed ZeRO-3).

An engine changes memory and speed, not the method: tests/training/test_engine_gradients.py compares its gradients with
those of one process. `execution.sharding` names it when we launch; under `accelerate launch` the launcher's file does.
Trainer checkpoints hold the parts as the engine writes them; the run's checkpoint is gathered into an ordinary folder.
"""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, str_to_bool
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers import Trainer

from cc_tuning.errors import ConfigError
from cc_tuning.training.job import TrainingJob, device_type
from cc_tuning.training.trainer_checkpoints import step_of

ZERO3_FILE = Path(__file__).with_name("zero3.json")
FSDP2 = {
    "version": 2,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",  # each decoder layer by itself, the rest together
    "reshard_after_forward": True,
    "state_dict_type": "SHARDED_STATE_DICT",  # each rank writes its part, and any number of ranks can read it
}


def as_launched(job: TrainingJob) -> TrainingJob:
    """`job` with the number of processes and the engine that this process was really started with.

    `torchrun` and `accelerate launch` say how many there are; an `accelerate` file may also name the engine.
    """
    changes: dict[str, object] = {"processes": int(os.environ.get("WORLD_SIZE", "1"))}
    if _accelerate_uses("FSDP"):
        changes["sharding"] = "fsdp2"
    if _accelerate_uses("DEEPSPEED"):
        changes["sharding"] = "zero3"
    return job.model_copy(update={"execution": job.execution.model_copy(update=changes)})


def engine_arguments(job: TrainingJob) -> dict[str, Any]:
    """The Trainer's arguments for the engine; none when `accelerate launch` has already told accelerate.

    Raises:
        ConfigError: the engine is not installed, or cannot do what the job asks for.
    """
    check_engine(job)
    sharding = job.execution.sharding
    if sharding == "none":
        return {}
    # Gradients are summed, and only a part kept, after each micro-batch: whole ones would not fit.
    accelerator: dict[str, Any] = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    values: dict[str, Any] = {"accelerator_config": accelerator}
    if sharding == "zero3":
        values |= {"deepspeed": zero3_config(job), "bf16": False}
    elif not _accelerate_uses("FSDP"):  # which has read its own file
        values |= {"fsdp": True, "fsdp_config": dict(FSDP2)}
    if device_type(job.execution) == "cpu":
        _join_on_cpu(sharding)
        accelerator["use_configured_state"] = True
        values["use_cpu"] = False
    return values


def zero3_config(job: TrainingJob) -> dict[str, Any]:
    """DeepSpeed's configuration, from the file that `accelerate launch` was given, or ours.

    The Trainer fills in what is `auto`. bfloat16 is autocast over float32 weights, as under the other engines:
    DeepSpeed's own `bf16` would hold the Decision Maker in bfloat16.
    """
    file = Path(os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", ZERO3_FILE))
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    autocast = {"enabled": job.config.training.dtype == "bfloat16", "dtype": "bfloat16"}
    return {**config, "bf16": {"enabled": False}, "torch_autocast": autocast}


def _join_on_cpu(sharding: str) -> None:
    """Join the ranks before accelerate does, which shards between GPUs only, and between CPUs trains as DDP instead.

    It takes over a state that is there: for ZeRO-3 what DeepSpeed makes, for FSDP2 one that says that it is of GPUs.
    """
    if sharding == "zero3":
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    state = PartialState(backend="gloo")
    if sharding == "fsdp2":
        state.distributed_type = DistributedType.MULTI_GPU


def check_engine(job: TrainingJob) -> None:
    """Refuse what the engine of `job` cannot do.

    Raises:
        ConfigError: the engine is not installed, or cannot do what the job asks for.
    """
    execution, training = job.execution, job.config.training
    if execution.sharding == "zero3" and training.validation_fraction:
        raise ConfigError(
            f"training.validation_fraction {training.validation_fraction} with execution.sharding 'zero3': the best "
            "checkpoint cannot be taken up again under DeepSpeed; set execution.sharding to fsdp2"
        )
    if execution.sharding == "zero3" and find_spec("deepspeed") is None:
        raise ConfigError(
            "execution.sharding is 'zero3', but DeepSpeed is not installed; install it with "
            "`pip install 'cc-tuning[deepspeed]'`, or set execution.sharding to fsdp2"
        )
    if execution.sharding == "zero3" and execution.compile:
        raise ConfigError(
            "execution.compile with execution.sharding 'zero3': DeepSpeed gathers weights inside the compiled blocks; "
            "set execution.sharding to fsdp2, or compile to false"
        )
    if execution.sharding != "none" and training.optimizer == "adafactor":
        raise ConfigError(
            f"training.optimizer 'adafactor' with execution.sharding {execution.sharding!r}: its sums over rows and "
            "columns need whole weights; use adamw, whose state is shared out among the processes"
        )


def check_same_engine(checkpoint: Path, job: TrainingJob) -> None:
    """Refuse to go on from a Trainer checkpoint that another engine wrote.

    Raises:
        ConfigError: with what it was written by, and what was asked for.
    """
    written_by, ranks = engine_of(checkpoint), len(list(checkpoint.glob("rng_state*.pth")))
    asked, asked_ranks = job.execution.sharding, job.execution.processes
    cannot_reshard = asked == "zero3" and ranks != asked_ranks
    if written_by != asked or cannot_reshard:
        raise ConfigError(
            f"the checkpoint of step {step_of(checkpoint)} in {checkpoint.parent} was written with execution.sharding "
            f"{written_by!r} on {ranks} process(es), this run has {asked!r} on {asked_ranks}; use the same again, or "
            "remove the folder to start anew"
        )


def engine_of(checkpoint: Path) -> str:
    """The engine that wrote a Trainer checkpoint, by its files."""
    if (checkpoint / "pytorch_model_fsdp_0").is_dir():
        return "fsdp2"
    return "zero3" if (checkpoint / "latest").is_file() else "none"


def check_running(trainer: Trainer, job: TrainingJob) -> None:
    """Refuse to train whole models where a sharded one was asked for.

    Raises:
        ConfigError: accelerate has not taken the engine.
    """
    running = {DistributedType.FSDP: "fsdp2", DistributedType.DEEPSPEED: "zero3"}
    found = running.get(trainer.accelerator.distributed_type, "none")
    if found != job.execution.sharding:
        raise ConfigError(
            f"execution.sharding is {job.execution.sharding!r}, but accelerate runs {found!r} "
            f"({trainer.accelerator.distributed_type.value}); unset its ACCELERATE_* variables, or give "
            "`accelerate launch` one of configs/accelerate/"
        )


def keep_arithmetic(trainer: Trainer, selector: nn.Module | None) -> None:
    """Under FSDP2 with bfloat16: sum gradients over ranks in float32, and leave the selector in float32.

    accelerate would do both in bfloat16. A selector without weights needs nothing.
    """
    plugin = trainer.accelerator.state.fsdp_plugin if trainer.is_fsdp_enabled else None
    if plugin is None or plugin.mixed_precision_policy is None:
        return
    plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    if selector is not None and any(True for _ in selector.parameters()):
        fully_shard(selector, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))


def reshard(model: nn.Module) -> None:
    """Free what FSDP2 has gathered for a forward pass that no backward pass follows; nothing under other engines.

    The outermost module keeps its weights whole until its backward pass, and a checkpoint would find them so.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def gathered_state(trainer: Trainer) -> dict[str, Tensor] | None:
    """The whole state dict of a sharded model, on the CPU of rank zero; None on the others. Every rank must call it."""
    state: dict[str, Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state if trainer.is_world_process_zero() else None


def _accelerate_uses(engine: str) -> bool:
    return str_to_bool(os.environ.get(f"ACCELERATE_USE_{engine}", "false")) == 1
