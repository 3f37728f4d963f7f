"""What training tells while it runs: one dense line per interval, and the same as JSON Lines.

Tokens per second counts the tokens of the training sequences, without padding and without the English prompts, so that
ML-SFT and CC-Tuning are compared by the same measure. `LengthGroupedTrainer` measures; every tracker gets the same.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SELECTION_COUNT = "selection_count/layer_"
"""Followed by the number of a layer from 1: the key of its count, one number each, which every tracker takes."""
_FORMATS = {
    "decision_maker_learning_rate": "dm lr {:.1e}",
    "validation_loss": "validation {:.3f}",
    "temperature": "tau {:.2f}",
    "selection_entropy": "entropy {:.2f}",
    "selection_cosine": "cosine {:.2f}",
}
_SHOWN_OTHERWISE = {
    "step", "epoch", "seconds", "loss", "grad_norm", "learning_rate", "tokens_per_second", "padding", "english_padding",
    "mfu", "memory_gb", "selection_counts",
}  # fmt: skip


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` in the order of their steps; a last line that was cut by a kill is left out.

    Each has step, epoch, loss, grad_norm, learning_rate, seconds (since the first step, over all resumptions),
    tokens_per_second (real ones, since the line before), padding (share of the padded tokens), mfu (None where the
    device's peak is not known) and memory_gb, and the metrics of the objective (means over rows). CC-Tuning has
    english_padding, selection_entropy (nats) and selection_cosine (of the English vector and the same layer's own
    activation at t*), both means over rows, selection_counts (rows per layer) and, with a Decision Maker, temperature
    and its own learning rate if it has one. A step after which held-out rows were measured has validation_loss.
    """
    if not path.is_file():
        return []
    whole_lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole_lines]


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
    others = line.keys() - _FORMATS.keys() - _SHOWN_OTHERWISE
    parts += [f"{name} {value:.3g}" for name, value in line.items() if name in others]
    if "selection_counts" in line:
        parts.append(f"layers {_most_chosen(line['selection_counts'])}")
    return " | ".join(parts)


def _most_chosen(counts: Sequence[float]) -> str:
    total = max(sum(counts), 1e-9)
    ranking = sorted(range(len(counts)), key=lambda layer: -counts[layer])[:3]
    return " ".join(f"{layer + 1}:{counts[layer] / total:.0%}" for layer in ranking if counts[layer])
