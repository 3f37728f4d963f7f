"""What training tells while it runs: one dense line per interval, and the same as JSON Lines.

Tokens per second counts the tokens of the training sequences, without padding and without the English prompts, so that
ML-SFT and CC-Tuning are compared by the same measure. `LengthGroupedTrainer` measures; every tracker gets the same.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cc_tuning.training.connection import SELECTION_COUNT

logger = logging.getLogger(__name__)

_OF_TRAINER = ("loss", "grad_norm", "learning_rate", "epoch")
_FORMATS = {
    "decision_maker_learning_rate": "dm lr {:.1e}",
    "temperature": "tau {:.2f}",
    "selection_entropy": "entropy {:.2f}",
    "selection_cosine": "cosine {:.2f}",
}
_SHOWN_FIRST = {*_OF_TRAINER, "step", "seconds", "tokens_per_second", "padding", "english_padding", "mfu", "memory_gb"}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` in the order of their steps; a last line that was cut by a kill is left out.

    Each has step, epoch, loss, grad_norm, learning_rate, seconds (since the first step, over all resumptions),
    tokens_per_second (real ones, since the line before), padding (share of the padded tokens), mfu (None where the
    device's peak is not known) and memory_gb, and the metrics of the objective (means over rows). CC-Tuning has
    english_padding, selection_entropy (nats) and selection_cosine (of the English vector and the same layer's own
    activation at t*), both means over rows, selection_counts (rows per layer) and, with a Decision Maker, temperature
    and its own learning rate if it has one.
    """
    if not path.is_file():
        return []
    whole_lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole_lines]


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


def dense_line(line: Mapping[str, Any], max_steps: int) -> str:
    """`step 120/2400 | loss 1.834 | grad 0.91 | lr 8.2e-06 | 41.2k tok/s | 4% padding | 61% mfu | 12.4 GB | ...`.

    CC-Tuning goes on with `dm lr 8.2e-05 | tau 0.71 | entropy 3.31 | cosine 0.42`, an objective with its own metrics by
    their names, and `layers 5:61% 9:20% 0:8%` are the three layers that were chosen most often.
    """
    speed, mfu = line["tokens_per_second"], line["mfu"]
    parts = [
        f"step {line['step']}/{max_steps}",
        f"loss {line['loss']:.3f}",
        f"grad {line['grad_norm']:.2f}",
        f"lr {line['learning_rate']:.1e}",
        f"{speed / 1000:.1f}k tok/s" if speed >= 1000 else f"{speed:.0f} tok/s",
        f"{line['padding']:.1%} padding",
        *([] if mfu is None else [f"{mfu:.0%} mfu"]),
        f"{line['memory_gb']:.1f} GB",
    ]
    parts += [text.format(line[name]) for name, text in _FORMATS.items() if name in line]
    known = {*_SHOWN_FIRST, *_FORMATS, "selection_counts"}
    parts += [f"{name} {value:.3g}" for name, value in line.items() if name not in known]
    if "selection_counts" in line:
        parts.append(f"layers {_most_chosen(line['selection_counts'])}")
    return " | ".join(parts)


def _most_chosen(counts: Sequence[float]) -> str:
    total = max(sum(counts), 1e-9)
    ranking = sorted(range(len(counts)), key=lambda layer: -counts[layer])[:3]
    return " ".join(f"{layer + 1}:{counts[layer] / total:.0%}" for layer in ranking if counts[layer])
