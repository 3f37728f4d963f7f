"""LoRA through peft: an adapter inside the base model, its files, and merging it for good (Hu et al. 2021).

peft replaces linear layers in place, so the base model stays what it was to everything else: the connection finds its
parts, the Trainer trains what has a gradient.
"""

from pathlib import Path

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from torch import Tensor
from transformers import PreTrainedModel

from cc_tuning.errors import ConfigError
from cc_tuning.model.checkpoint import read_tensors
from cc_tuning.training.config import LoraConfig

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def with_adapter(base: PreTrainedModel, lora: LoraConfig) -> PeftModel:
    """The handle to a fresh float32 adapter inside `base`, whose own weights no longer train.

    Raises:
        ConfigError: `base` has no layers of the names asked for.
    """
    everywhere = lora.target_modules == ("all-linear",)
    config = PeftLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if everywhere else list(lora.target_modules),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(base, config)
    except ValueError as error:
        raise ConfigError(
            f"training.lora.target_modules {list(lora.target_modules)} do not fit a {type(base).__name__}: {error}"
        ) from error


def save_adapter(adapter: PeftModel, folder: Path, state: dict[str, Tensor] | None = None, prefix: str = "") -> None:
    """Write what peft loads, `adapter_model.safetensors` and `adapter_config.json`.

    `state` is a gathered state dict in the place of the model's own, in which the base model's names have `prefix`.
    """
    if state is not None:
        of_base = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        state = {f"base_model.model.{name}": tensor for name, tensor in of_base.items()}
    adapter.save_pretrained(str(folder), state_dict=state)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card


def load_adapter(adapter: PeftModel, folder: Path) -> None:
    """Fill the adapter with what `save_adapter` wrote."""
    set_peft_model_state_dict(adapter, read_tensors(folder / ADAPTER_WEIGHTS))


def merge(adapter: PeftModel) -> PreTrainedModel:
    """The base model with `W + (alpha / rank) B A` in the place of each adapted weight, added in float32."""
    merged: PreTrainedModel = adapter.to(torch.float32).merge_and_unload()
    return merged
