"""The Trainer's own checkpoints where an adapter is trained: adapter and connection, without the base model's weights.

Under FSDP2 and ZeRO-3 the engine writes what it shards, the base model included, and goes on from that.
"""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.trainer import TRAINING_ARGS_NAME

from cc_tuning.model import CrossLingualModel
from cc_tuning.training.adapter import load_adapter, save_adapter
from cc_tuning.training.trainer import LengthGroupedTrainer


class AdapterTrainer(LengthGroupedTrainer):
    """A `LengthGroupedTrainer` that saves and loads `adapter` and, for CC-Tuning, the connection's two files."""

    def __init__(self, *arguments: Any, adapter: PeftModel, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._adapter = adapter

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        target = output_dir or self.args.output_dir
        assert target is not None
        folder = Path(target)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        is_connected = isinstance(model, CrossLingualModel)
        save_adapter(self._adapter, folder, state_dict, "base." if is_connected else "")
        if is_connected:
            model.save_connection(folder, selector_state=_selector_of(state_dict))
        torch.save(self.args, folder / TRAINING_ARGS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_adapter(self._adapter, Path(resume_from_checkpoint))
        if isinstance(self.model, CrossLingualModel):
            self.model.load_connection(resume_from_checkpoint)


def _selector_of(state: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
    if state is None:
        return None
    prefix = "decision_maker."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
