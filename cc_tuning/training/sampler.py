"""Which rows make up each optimizer step and each micro-batch: little padding, every row once, on any number of ranks.

The rows of a step depend on the seed, the epoch and the row ids alone: each epoch is a random order of all rows, each
step the next `global_batch_size` of them. Lengths play no part in that, so a step stays a fair draw. Within a step the
rows are sorted by length and cut into micro-batches; since the loss is weighted by tokens and the noise belongs to the
row, the cuts decide speed and memory, not the gradient. A step has as many micro-batches as its memory and its padding
ask for, the same number on every rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from math import ceil, inf
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch.utils.data import Sampler

ENGLISH_TOKEN_COST = 1 / 3
"""Of a token of the English pass, which is a forward pass; one that is trained has a backward pass of twice that."""

GroupT = TypeVar("GroupT")


@dataclass(frozen=True)
class BatchShape:
    """How many rows an optimizer step takes, and what bounds its micro-batches.

    `global_batch_size` rows a step; `device_batch_size` rows a micro-batch on average, at most; `device_batch_tokens`
    padded tokens in one, at most (a longer row goes alone); less than the share `max_padding` of a step's tokens is
    padding, unless more micro-batches cost more than the padding they save: each costs `pass_tokens` beside its padded
    tokens; `ranks` processes.
    """

    global_batch_size: int
    device_batch_size: int
    device_batch_tokens: int
    max_padding: float
    ranks: int = 1
    pass_tokens: float = 0.0


class MicroBatchIndices(NamedTuple):
    """The rows of a micro-batch by index. An idle one keeps its rank in step with the others and trains nothing."""

    rows: list[int]
    is_idle: bool = False


class StepIndices(NamedTuple):
    """What one rank trains in one optimizer step."""

    epoch: int
    micro_batches: list[MicroBatchIndices]


@dataclass(frozen=True)
class RowSizes:
    """What rows take in a batch, `[n]` int64 each; a row of several sequences has all of them padded to the longest."""

    tokens: np.ndarray  # real ones, of all sequences
    width: np.ndarray  # with padding, where the row is the longest of its micro-batch
    english_width: np.ndarray  # the same of its English prompts; zeros without an English pass

    @classmethod
    def of(cls, lengths: np.ndarray, english_lengths: np.ndarray) -> "RowSizes":
        """From the tokens of each sequence `[n, S]` and of the English prompt `[n]`, which each sequence reads."""
        sequences = lengths.shape[1]
        return cls(lengths.sum(1), sequences * lengths.max(1), sequences * english_lengths)

    def __getitem__(self, rows: Any) -> "RowSizes":
        return RowSizes(self.tokens[rows], self.width[rows], self.english_width[rows])

    def split(self, cuts: Sequence[int]) -> "list[RowSizes]":
        """The sizes of each run between `cuts`."""
        edges = [0, *cuts, len(self.tokens)]
        return [self[start:end] for start, end in pairwise(edges)]


class LengthGroupedBatches(Sampler[Any]):
    """What one rank trains in each step of an epoch, as `StepIndices`.

    `lengths [N, S]` are the tokens of each row's sequences, `english_lengths [N]` those of its English prompt (zeros
    without a second pass). Each step has the same number of micro-batches on every rank: where a step has fewer rows
    than ranks, a rank without one gets the shortest row of the step as an idle micro-batch.
    """

    def __init__(
        self,
        row_ids: Sequence[str],
        lengths: np.ndarray,
        english_lengths: np.ndarray,
        shape: BatchShape,
        seed: int,
        rank: int = 0,
    ) -> None:
        self._row_ids, self._sizes, self._shape = row_ids, RowSizes.of(lengths, english_lengths), shape
        self._seed, self._rank, self._epoch = seed, rank, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0; the order of its rows has nothing to do with that of another."""
        self._epoch = epoch

    def __len__(self) -> int:
        return ceil(len(self._row_ids) / self._shape.global_batch_size)

    def __iter__(self) -> Iterator[StepIndices]:
        order = order_of_rows(self._row_ids, self._seed, self._epoch)
        for start in range(0, len(order), self._shape.global_batch_size):
            rows = np.asarray(order[start : start + self._shape.global_batch_size])
            yield StepIndices(self._epoch, self._micro_batches(rows)[self._rank])

    def _micro_batches(self, rows: np.ndarray) -> list[list[MicroBatchIndices]]:
        """The micro-batches of each rank, the most expensive first."""
        rows = rows[np.argsort(-self._sizes.width[rows], kind="stable")]
        sizes = self._sizes[rows]
        cuts = cut_step(sizes, self._shape)
        groups = [MicroBatchIndices(group.tolist()) for group in np.split(rows, cuts)]
        costs = [cost_of(run) for run in sizes.split(cuts)]
        idle = -len(groups) % self._shape.ranks
        groups += [MicroBatchIndices([int(rows[-1])], is_idle=True)] * idle
        costs += [0.0] * idle
        return deal(groups, costs, self._shape.ranks)


def order_of_rows(row_ids: Sequence[str], seed: int, epoch: int) -> list[int]:
    """Row indices in the order of an epoch: by a hash of seed, epoch and row id, whatever the order of the file."""

    def key(index: int) -> bytes:
        return blake2b(f"{seed}/{epoch}/{row_ids[index]}".encode(), digest_size=16).digest()

    return sorted(range(len(row_ids)), key=key)


def cost_of(run: RowSizes) -> float:
    """What a micro-batch of these rows costs, in padded tokens that are trained."""
    return float(len(run.width) * (run.width.max() + ENGLISH_TOKEN_COST * run.english_width.max()))


def cut_step(sizes: RowSizes, shape: BatchShape) -> list[int]:
    """Where to cut a step of rows of descending width into micro-batches.

    Of the fewest, a multiple of the ranks or one for each row, that keep every bound of `shape`, and of still fewer
    that keep all but `max_padding`: those that cost the least, `pass_tokens` for each micro-batch included.
    """
    rows, real = len(sizes.width), sizes.tokens.sum()
    fewest = ceil(rows / (shape.device_batch_size * shape.ranks)) * shape.ranks
    cheapest, least = list(range(1, rows)), inf
    for groups, cuts in enumerate(best_cuts(run_costs(sizes, shape.device_batch_tokens)), start=1):
        is_last = groups == rows
        if cuts is None or not (is_last or (groups >= fewest and groups % shape.ranks == 0)):
            continue
        padded = sum(len(width) * width[0] for width in np.split(sizes.width, cuts))
        cost = padded + shape.pass_tokens * groups
        keeps_padding = is_last or real > (1 - shape.max_padding) * padded
        if cost < least if shape.pass_tokens else keeps_padding:
            cheapest, least = cuts, cost
        if keeps_padding:
            break
    return cheapest


def run_costs(sizes: RowSizes, most_tokens: int) -> np.ndarray:
    """`[n, n]`: the square of the cost of the rows from `start` (column) to before `end` (line `end - 1`).

    The sum of squares is small when padding is, and when no run is much larger than another, which is what waiting
    ranks ask for. Infinite for a run of several rows and more than `most_tokens`, and where there is no row.
    """
    rows = len(sizes.width)
    ends, starts = np.arange(1, rows + 1)[:, None], np.arange(rows)[None, :]
    widest_english = np.maximum.accumulate(np.where(starts < ends, sizes.english_width[:, None], 0), axis=0)
    tokens = (ends - starts) * sizes.width.astype(np.float64)[None, :]
    cost = tokens + ENGLISH_TOKEN_COST * (ends - starts) * widest_english
    is_run = (starts < ends) & ((tokens <= most_tokens) | (ends - starts == 1))
    return np.where(is_run, cost**2, np.inf)


def best_cuts(run_cost: np.ndarray) -> Iterator[list[int] | None]:
    """Where to cut `n` rows into 1, 2, ..., `n` runs so that they cost the least together; None where none is finite.

    Dynamic programming: the first `j` rows in `g` runs cost the least, over `i < j`, of `i` rows in `g - 1` runs and
    the run from `i` to `j`.
    """
    rows = len(run_cost)
    best = run_cost[:, 0]  # of the first j = 1 .. n rows in one run
    last_starts: list[np.ndarray] = []
    for _ in range(rows):
        if np.isfinite(best[-1]):
            cuts, end = [], rows
            for last_start in reversed(last_starts):
                end = int(last_start[end - 1])
                cuts.append(end)
            yield cuts[::-1]
        else:
            yield None
        cost = run_cost + np.concatenate([[np.inf], best[:-1]])[None, :]
        last_starts.append(cost.argmin(axis=1))
        best = cost.min(axis=1)


def deal(groups: Sequence[GroupT], costs: Sequence[float], ranks: int) -> list[list[GroupT]]:
    """`groups` to each of `ranks`, equally many: round by round, the costliest left to the rank with the least work."""
    order = sorted(range(len(groups)), key=lambda group: -costs[group])
    dealt: list[list[GroupT]] = [[] for _ in range(ranks)]
    work = [0.0] * ranks
    for start in range(0, len(order), ranks):
        lightest_first = sorted(range(ranks), key=lambda rank: work[rank])
        for rank, group in zip(lightest_first, order[start : start + ranks], strict=True):
            dealt[rank].append(groups[group])
            work[rank] += costs[group]
    return dealt
