"""The Gumbel noise of training, a function of seed, epoch and row: the same on any device and in any micro-batch.

A generator that is drawn from in the order of the batches would give a row other noise on another number of ranks, or
after a change of batch size by memory, and so another result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import shake_128
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class RowNoise:
    """Standard Gumbel noise over `layers` layers for the rows of a run with this `seed`."""

    seed: int
    layers: int

    def of_rows(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """`[B, L]` float32 of rows with a `row_id` and an `epoch`."""
        return torch.from_numpy(np.stack([self.of_row(row["row_id"], row["epoch"]) for row in rows]))

    def of_row(self, row_id: str, epoch: int) -> np.ndarray:
        """`[L]` float32: `-log(-log(u))`, with `u` uniform in 53 bits of a hash."""
        digest = shake_128(f"{self.seed}/{epoch}/{row_id}".encode()).digest(8 * self.layers)
        uniform = ((np.frombuffer(digest, dtype="<u8") >> 11) + 0.5) / 2**53
        noise: np.ndarray = (-np.log(-np.log(uniform))).astype(np.float32)
        return noise
