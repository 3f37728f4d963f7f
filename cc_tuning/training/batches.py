"""Which rows make up each optimizer step and each micro-batch: little padding, every row once, on any number of ranks.

The rows of a step depend on the seed, the epoch and the row ids alone. Within a step the rows are sorted by length and
cut into micro-batches of even size and little padding; since the loss is weighted by tokens, the cuts decide speed and
memory, not the gradient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

import numpy as np
from torch.utils.data import Sampler


@dataclass(frozen=True)
class BatchShape:
    """How many rows an optimizer step takes, and how they spread over micro-batches.

    `global_batch_size` rows a step, `device_batch_size` rows a micro-batch on average, `ranks` processes.
    """

    global_batch_size: int
    device_batch_size: int
    ranks: int = 1

    def micro_batches(self, rows: int) -> int:
        """Micro-batches of each rank in a step of `rows` rows; at least one."""
        return ceil(rows / (self.device_batch_size * self.ranks))


class LengthGroupedBatches(Sampler[list[int]]):
    """The micro-batches of one rank for one epoch, as lists of row indices, in the order of the steps.

    Each step has the same number of micro-batches on every rank. Where the last step of an epoch has too few rows for
    that, a rank without one gets a row of the step as `~index`: `TrainingRows` gives it without a label.
    """

    def __init__(
        self, row_ids: Sequence[str], lengths: Sequence[int], shape: BatchShape, seed: int, rank: int = 0
    ) -> None:
        self._row_ids, self._lengths, self._shape = row_ids, np.asarray(lengths), shape
        self._seed, self._rank, self._epoch = seed, rank, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0; the order of its rows has nothing to do with that of another."""
        self._epoch = epoch

    def __len__(self) -> int:
        steps, rest = divmod(len(self._row_ids), self._shape.global_batch_size)
        whole = steps * self._shape.micro_batches(self._shape.global_batch_size)
        return whole + (self._shape.micro_batches(rest) if rest else 0)

    def __iter__(self) -> Iterator[list[int]]:
        order = order_of_rows(self._row_ids, self._seed, self._epoch)
        for start in range(0, len(order), self._shape.global_batch_size):
            rows = np.asarray(order[start : start + self._shape.global_batch_size])
            rows = rows[np.argsort(-self._lengths[rows], kind="stable")]
            count = self._shape.micro_batches(len(rows)) * self._shape.ranks
            cuts = even_cuts(self._lengths[rows], count)
            groups = [group.tolist() for group in np.split(rows, cuts)]
            groups += [[~int(rows[-1])]] * (count - len(groups))
            yield from groups[self._rank :: self._shape.ranks]


def order_of_rows(row_ids: Sequence[str], seed: int, epoch: int) -> list[int]:
    """Row indices in the order of an epoch: by a hash of seed, epoch and row id, whatever the order of the file."""

    def key(index: int) -> bytes:
        return blake2b(f"{seed}/{epoch}/{row_ids[index]}".encode(), digest_size=16).digest()

    return sorted(range(len(row_ids)), key=key)


def even_cuts(lengths: np.ndarray, groups: int) -> list[int]:
    """Where to cut descending `lengths [n]` into `groups` runs, at most `n`, of little padding and even size.

    A run costs the square of its padded tokens (rows times the first, longest length): the sum of squares is small when
    padding is, and when no run is much larger than another, which is what memory and waiting ranks ask for. Dynamic
    programming: the first `j` rows in `g` runs cost the least, over `i < j`, of `i` rows in `g - 1` runs and the run
    from `i` to `j`.
    """
    rows = len(lengths)
    ends, starts = np.arange(1, rows + 1)[:, None], np.arange(rows)[None, :]
    padded_tokens = (ends - starts) * lengths.astype(np.float64)[None, :]
    run_cost = np.where(starts < ends, padded_tokens**2, np.inf)
    best = run_cost[:, 0]  # of the first j = 1 .. n rows in one run
    last_starts: list[np.ndarray] = []
    for _ in range(min(groups, rows) - 1):
        cost = run_cost + np.concatenate([[np.inf], best[:-1]])[None, :]
        last_starts.append(cost.argmin(axis=1))
        best = cost.min(axis=1)
    cuts, end = [], rows
    for last_start in reversed(last_starts):
        end = int(last_start[end - 1])
        cuts.append(end)
    return cuts[::-1]
