"""LoRA through peft: an adapter inside the base model, its training and its files, and merging it for good.

`W + (alpha / rank) B A` (Hu et al. 2021). peft replaces linear layers in place, so the base model stays what it was to
everything else: the connection finds its parts, the Trainer trains what has a gradient.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.trainer import TRAINING_ARGS_NAME

from cc_tuning.errors import ConfigError
from cc_tuning.model.checkpoint import read_tensors
from cc_tuning.model.connection import CrossLingualModel
from cc_tuning.training.config import LoraConfig
from cc_tuning.training.trainer import LengthGroupedTrainer

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


class AdapterTrainer(LengthGroupedTrainer):
    """A `LengthGroupedTrainer` whose checkpoints hold `adapter` without the base model's weights.

    With a connection they hold its two files too; `connected` is the model with it, or None. Under FSDP2 and ZeRO-3 the
    engine writes what it shards, the base model included, and goes on from that.
    """

    def __init__(self, *arguments: Any, adapter: PeftModel, connected: CrossLingualModel | None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._adapter, self._connected = adapter, connected

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        target = output_dir or self.args.output_dir
        assert target is not None
        folder = Path(target)
        folder.mkdir(parents=True, exist_ok=True)
        save_adapter(self._adapter, folder, state_dict, "" if self._connected is None else "base.")
        if self._connected is not None:
            self._connected.save_connection(folder, selector_state=_selector_of(state_dict))
        torch.save(self.args, folder / TRAINING_ARGS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_adapter(self._adapter, Path(resume_from_checkpoint))
        if self._connected is not None:
            self._connected.load_connection(resume_from_checkpoint)


def _selector_of(state: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
    if state is None:
        return None
    prefix = "decision_maker."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
