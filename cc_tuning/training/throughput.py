"""What is measured between two log lines: summed where it is computed, moved to the CPU and over the ranks once a line.

Token counts are known before a batch reaches the device. Losses, choices of layers, entropies and cosines stay on the
device until the line.
"""

import resource
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.training.flops import ModelFlops
from cc_tuning.training.step_batches import StepBatches, TokenCounts

SELECTION_COUNT = "selection_count/layer_"
"""Followed by the number of a layer from 1: the key of its count, one number each, which every tracker takes."""


@dataclass(frozen=True)
class MeasuredStep:
    """A step of this rank since the last line: its number from 1, its rows and its losses, by micro-batch."""

    step: int
    row_ids: list[list[str]]
    losses: Tensor  # [micro-batches], on the device


class Measurements:
    """The sums of one rank; `layers` is 0 without a connection, `peak` the device's FLOPs a second where known."""

    def __init__(self, flops: ModelFlops, peak: float | None, layers: int, device: torch.device) -> None:
        self._flops, self._peak, self._layers, self._device = flops, peak, layers, device
        self._started: float | None = None
        self._clear()

    def _clear(self) -> None:
        self.steps: list[MeasuredStep] = []
        self._counts = TokenCounts()
        self._rows = 0
        self._selection = torch.zeros(self._layers + 3, dtype=torch.float64, device=self._device)

    def start_step(self) -> None:
        """The time of the first line begins with its first step."""
        if self._started is None:
            self._started = time.monotonic()

    def add_step(self, step: int, batches: StepBatches, losses: Tensor) -> None:
        """Count one trained step of this rank; `losses [micro-batches]` stay where they are."""
        self.steps.append(MeasuredStep(step, batches.row_ids, losses))
        self._counts.add(batches.counts)

    def add_selection(self, weights: Tensor, probabilities: Tensor, cosine: Tensor) -> None:
        """Count a micro-batch: `g [B, L]`, `softmax(H / tau) [B, L]`, cosine `[B]`, float32 without gradient."""
        entropy = torch.special.entr(probabilities).sum(1)
        rows = torch.ones_like(entropy)
        self._selection += torch.cat([weights, torch.stack([entropy, cosine, rows], dim=1)], dim=1).sum(0)

    def take(self) -> dict[str, float]:
        """The fields of a line, over all ranks; counting starts again.

        tokens_per_second (of training sequences, real ones), padding and english_padding (shares), mfu where the peak
        is known, memory_gb (the most a rank had), and for a connection selection_entropy (nats), selection_cosine
        (both means over rows) and the rows of each layer.
        """
        now = time.monotonic()
        seconds = max(now - (self._started or now), 1e-9)
        counts = self._counts
        host = [counts.tokens, counts.padded, counts.english_tokens, counts.english_padded, self._flops.of(counts)]
        sums = torch.cat([torch.tensor(host, dtype=torch.float64, device=self._device), self._selection])
        memory = torch.tensor(peak_memory_bytes(self._device), dtype=torch.float64, device=self._device)
        ranks = 1
        if torch.distributed.is_initialized():
            ranks = torch.distributed.get_world_size()
            torch.distributed.all_reduce(sums)
            torch.distributed.all_reduce(memory, op=torch.distributed.ReduceOp.MAX)
        tokens, padded, english_tokens, english_padded, flops, *selection = sums.tolist()
        fields = {"tokens_per_second": round(tokens / seconds, 1), "padding": _share(tokens, padded)}
        if english_padded:
            fields["english_padding"] = _share(english_tokens, english_padded)
        if self._peak is not None:
            fields["mfu"] = round(flops / seconds / ranks / self._peak, 4)
        fields["memory_gb"] = round(memory.item() / 1e9, 3)
        if self._layers and selection[-1]:
            *layers, entropy, cosine, rows = selection
            fields["selection_entropy"] = round(entropy / rows, 4)
            fields["selection_cosine"] = round(cosine / rows, 4)
            for layer, count in enumerate(layers, start=1):
                fields[f"{SELECTION_COUNT}{layer}"] = round(count, 2)
        self._clear()
        self._started = now
        return fields


def peak_memory_bytes(device: torch.device) -> float:
    """The most memory this process has had: allocated on its GPU, or resident on a machine without one."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _share(real: float, padded: float) -> float:
    return round(1 - real / padded, 4) if padded else 0.0
