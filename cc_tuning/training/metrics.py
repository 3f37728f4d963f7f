"""What training tells while it runs: one dense line per interval, the same as JSON Lines, and a stop at a NaN.

Tokens per second counts the tokens of the training sequences, without padding and without the English prompts, so that
ML-SFT and CC-Tuning are compared by the same measure. The chosen layers are read from the model's outputs by a forward
hook, summed where they are computed, and moved to the CPU once per line.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cc_tuning.errors import TrainingFailed
from cc_tuning.training.collate import IGNORED_LABEL

logger = logging.getLogger(__name__)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` in the order of their steps; a last line that was cut by a kill is left out.

    Each has step, epoch, loss, learning_rate, grad_norm, tokens_per_second, seconds (since the first step, over all
    resumptions), and for CC-Tuning selection_entropy (nats, mean over rows) and selection_counts (rows per layer).
    """
    if not path.is_file():
        return []
    whole_lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole_lines]


class TrainingMetrics(TrainerCallback):
    """Writes `path` and the log; `tell_progress(done, total, unit)` is called on rank zero for every line.

    Raises:
        TrainingFailed: the loss or the gradient norm is not finite.
    """

    def __init__(self, path: Path, tell_progress: Callable[[int, int, str], None]) -> None:
        self._path = path
        self._tell_progress = tell_progress
        self._hook: RemovableHandle | None = None
        self._sums = _Sums()
        self._earlier_seconds = 0.0
        self._started = self._window_started = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model: nn.Module = kwargs["model"]
        self._hook = model.register_forward_hook(self._sums.observe, with_kwargs=True)
        kept = [line for line in read_metrics(self._path) if line["step"] <= state.global_step]
        self._earlier_seconds = kept[-1]["seconds"] if kept else 0.0
        if state.is_world_process_zero:
            # A killed run may have logged steps after its last checkpoint; they are taken again.
            self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._started = self._window_started = time.monotonic()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._hook is not None:
            self._hook.remove()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        loss, grad_norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainingFailed(
                f"step {state.global_step} of {state.max_steps}: loss {loss}, gradient norm {grad_norm}, expected "
                f"finite numbers, at learning rate {logs['learning_rate']:.1e}; lower training.learning_rate, or set "
                "training.dtype to float32. No checkpoint was saved from this step"
            )
        now = time.monotonic()
        line = {
            "step": state.global_step,
            "epoch": round(float(logs["epoch"]), 4),
            "loss": loss,
            "learning_rate": float(logs["learning_rate"]),
            "grad_norm": grad_norm,
            "seconds": round(self._earlier_seconds + now - self._started, 3),
            **self._sums.take(now - self._window_started),
        }
        self._window_started = now
        if state.is_world_process_zero:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            logger.info("%s", dense_line(line, state.max_steps))
            self._tell_progress(state.global_step, state.max_steps, "steps")


class _Sums:
    """Tokens, rows and layer choices since the last line, on the model's device until they are taken."""

    def __init__(self) -> None:
        self._tokens: Tensor | None = None
        self._selection: Tensor | None = None
        self._entropy: Tensor | None = None

    def observe(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A forward hook; adds one micro-batch."""
        is_trained = (kwargs["labels"] != IGNORED_LABEL).any(1)  # all but a row that only keeps a rank in step
        self._tokens = _plus(self._tokens, kwargs["attention_mask"][is_trained].sum())
        selection, probabilities = output.get("selection"), output.get("selection_probabilities")
        if selection is not None and probabilities is not None:
            self._selection = _plus(self._selection, selection[is_trained].sum(0))
            self._entropy = _plus(self._entropy, torch.special.entr(probabilities[is_trained]).sum())

    def take(self, seconds: float) -> dict[str, Any]:
        """The sums over all ranks as the fields of a line; counting starts again."""
        tokens, selection, entropy = (_over_ranks(t) for t in (self._tokens, self._selection, self._entropy))
        self._tokens = self._selection = self._entropy = None
        fields: dict[str, Any] = {"tokens_per_second": round((tokens[0] if tokens else 0) / max(seconds, 1e-9), 1)}
        if selection and entropy:
            rows = sum(selection)
            fields["selection_entropy"] = round(entropy[0] / rows, 4)
            fields["selection_counts"] = [round(count, 2) for count in selection]
        return fields


def dense_line(line: Mapping[str, Any], max_steps: int) -> str:
    """`step 120/2400 | loss 1.834 | lr 8.2e-06 | grad 0.91 | 41.2k tok/s | entropy 3.31 | 12.4 GB`."""
    speed = line["tokens_per_second"]
    parts = [
        f"step {line['step']}/{max_steps}",
        f"loss {line['loss']:.3f}",
        f"lr {line['learning_rate']:.1e}",
        f"grad {line['grad_norm']:.2f}",
        f"{speed / 1000:.1f}k tok/s" if speed >= 1000 else f"{speed:.0f} tok/s",
    ]
    if "selection_entropy" in line:
        parts.append(f"entropy {line['selection_entropy']:.2f}")
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        parts.append(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
    return " | ".join(parts)


def _plus(total: Tensor | None, value: Tensor) -> Tensor:
    value = value.detach().double()
    return value if total is None else total + value


def _over_ranks(value: Tensor | None) -> list[float]:
    if value is None:
        return []
    value = value.reshape(-1).clone()
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
    return [float(number) for number in value.tolist()]
