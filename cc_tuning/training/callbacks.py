"""What is done at the Trainer's events: a line is written and told, a checkpoint is completed."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cc_tuning.training.metrics import SELECTION_COUNT, dense_line, read_metrics
from cc_tuning.training.trainer_checkpoints import (
    checkpoint_of_step,
    remove_old_checkpoints,
    write_checkpoint_manifest,
)
from cc_tuning.training.validation import Validation

logger = logging.getLogger(__name__)

_OF_TRAINER = ("loss", "grad_norm", "learning_rate", "epoch")


class TrainingMetrics(TrainerCallback):
    """Writes `path` and the log on rank zero; `tell_progress(done, total, unit)` is called for every line."""

    def __init__(self, path: Path, tell_progress: Callable[[int, int, str], None]) -> None:
        self._path = path
        self._tell_progress = tell_progress
        self._earlier_seconds = self._started = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        kept = [line for line in read_metrics(self._path) if line["step"] <= state.global_step]
        self._earlier_seconds = kept[-1]["seconds"] if kept else 0.0
        if state.is_world_process_zero:
            # A killed run may have logged steps after its last checkpoint; they are taken again.
            self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._started = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        counts = [value for name, value in logs.items() if name.startswith(SELECTION_COUNT)]
        others = {name: value for name, value in logs.items() if not name.startswith(SELECTION_COUNT)}
        line = {
            "step": state.global_step,
            **{name: float(logs[name]) for name in ("loss", "learning_rate")},
            "epoch": round(float(logs["epoch"]), 4),
            "grad_norm": float(logs.get("grad_norm", 0.0)),
            "seconds": round(self._earlier_seconds + time.monotonic() - self._started, 3),
            **{name: value for name, value in others.items() if name not in _OF_TRAINER},
            "mfu": logs.get("mfu"),
            **({"selection_counts": counts} if counts else {}),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        logger.info("%s", dense_line(line, state.max_steps))
        self._tell_progress(state.global_step, state.max_steps, "steps")


class ValidationLines(TrainerCallback):
    """Asks for a line at each step after which the held-out rows are measured: LengthGroupedTrainer adds their loss."""

    def __init__(self, validation: Validation) -> None:
        self._validation = validation

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        control.should_log = control.should_log or self._validation.is_due(state.global_step, state.max_steps)
        return control


class CheckpointManifests(TrainerCallback):
    """Completes each checkpoint with its manifest, then removes all but the newest two and the best."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        # LengthGroupedTrainer stops at a line whose loss is not finite, so a saved step needs a line: no NaN is saved.
        control.should_log = control.should_log or control.should_save
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # every rank has written its random state
        if not state.is_world_process_zero:
            return
        assert args.output_dir is not None
        folder = Path(args.output_dir)
        checkpoint = checkpoint_of_step(folder, state.global_step)
        write_checkpoint_manifest(checkpoint)
        remove_old_checkpoints(folder, checkpoint)
