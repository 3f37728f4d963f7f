"""What is measured between two log lines: summed where it is computed, moved to the CPU and over the ranks once a line.

Token counts are known before a batch reaches the device. Losses, and the figures that an objective or the connection
has for each row, stay on the device until the line.
"""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.training.collators import StepBatches, TokenCounts
from cc_tuning.training.flops import ModelFlops


@dataclass(frozen=True)
class MeasuredStep:
    """A step of this rank since the last line: its number from 1, its rows and its losses, by micro-batch."""

    step: int
    row_ids: list[list[str]]
    losses: Tensor  # [micro-batches], on the device


class RowFigures:
    """Named figures of rows, summed on the device: a line has the mean of `means` and the sum of `totals`."""

    def __init__(self, means: Sequence[str], totals: Sequence[str], device: torch.device) -> None:
        self._means, self._totals = means, totals
        # The last one counts rows. Every rank has as many, so that they can be added up.
        self.sums = torch.zeros(len(means) + len(totals) + 1, dtype=torch.float64, device=device)

    def add(self, values: Tensor) -> None:
        """Count the rows of a micro-batch: `[B, means + totals]` float32 without gradient."""
        self.sums[:-1] += values.sum(0)
        self.sums[-1] += len(values)

    def fields(self, sums: Sequence[float]) -> dict[str, float]:
        """The fields of a line from `sums` over all ranks; none where no row was counted."""
        *values, rows = sums
        if not rows:
            return {}
        means, totals = values[: len(self._means)], values[len(self._means) :]
        return {
            **{name: round(value / rows, 4) for name, value in zip(self._means, means, strict=True)},
            **{name: round(value, 2) for name, value in zip(self._totals, totals, strict=True)},
        }


class Measurements:
    """The sums of one rank; `peak` is the device's FLOPs a second where known, `figures` are added to from outside."""

    def __init__(
        self, flops: ModelFlops, peak: float | None, device: torch.device, figures: Sequence[RowFigures] = ()
    ) -> None:
        self._flops, self._peak, self._device, self._figures = flops, peak, device, figures
        self._started: float | None = None
        self._clear()

    def _clear(self) -> None:
        self.steps: list[MeasuredStep] = []
        self._counts = TokenCounts()
        for figures in self._figures:
            figures.sums.zero_()

    def start_step(self) -> None:
        """The time of the first line begins with its first step."""
        if self._started is None:
            self._started = time.monotonic()

    def restart_clock(self) -> None:
        """Leave what was done since the last line out of the time of the next."""
        self._started = time.monotonic()

    def add_step(self, step: int, batches: StepBatches, losses: Tensor) -> None:
        """Count one trained step of this rank; `losses [micro-batches]` stay where they are."""
        row_ids = [[] if batch.is_idle else batch.row_ids for batch in batches.micro_batches]
        self.steps.append(MeasuredStep(step, row_ids, losses))
        self._counts.add(batches.counts)

    def take(self) -> dict[str, float]:
        """The fields of a line, over all ranks; counting starts again.

        tokens_per_second (of training sequences, real ones), padding and english_padding (shares), mfu where the peak
        is known, memory_gb (the most a rank had), and the fields of `figures`.
        """
        now = time.monotonic()
        seconds = max(now - (self._started or now), 1e-9)
        counts = self._counts
        host = [counts.tokens, counts.padded, counts.english_tokens, counts.english_padded, self._flops.of(counts)]
        on_device = [figures.sums for figures in self._figures]
        sums = torch.cat([torch.tensor(host, dtype=torch.float64, device=self._device), *on_device])
        memory = torch.tensor(peak_memory_bytes(self._device), dtype=torch.float64, device=self._device)
        ranks = 1
        if torch.distributed.is_initialized():
            ranks = torch.distributed.get_world_size()
            torch.distributed.all_reduce(sums)
            torch.distributed.all_reduce(memory, op=torch.distributed.ReduceOp.MAX)
        tokens, padded, english_tokens, english_padded, flops, *of_rows = sums.tolist()
        fields = {"tokens_per_second": round(tokens / seconds, 1), "padding": _share(tokens, padded)}
        if english_padded:
            fields["english_padding"] = _share(english_tokens, english_padded)
        if self._peak is not None:
            fields["mfu"] = round(flops / seconds / ranks / self._peak, 4)
        fields["memory_gb"] = round(memory.item() / 1e9, 3)
        for figures in self._figures:
            fields |= figures.fields(of_rows[: len(figures.sums)])
            del of_rows[: len(figures.sums)]
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
