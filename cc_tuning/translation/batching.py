"""Batches of segments that are cheap to decode together, and the length that each answer may have.

A batch takes as many decoder steps as its longest segment needs, and a row that has ended still costs its share of
every step. So segments of similar length go together. How similar is a matter of cost: a step has a price of its own,
worth that of some rows, and too narrow batches pay it too often. With segments counted in source tokens n, a batch
costs

    (longest n + 16) · (rows + step_rows)

and the batches with the smallest sum are found by dynamic programming over the different lengths.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

import torch
from torch import Tensor

EXTRA_TOKENS = 16
"""Decoder steps beyond one per source token: short segments often become longer."""
STEP_ROWS = {"cpu": 16, "cuda": 512}
"""The price of a step in rows. CPU: measured, 60M parameters, two cores (one row 12 ms, 128 rows 113 ms). GPU: not
measured; large enough for batches to be about as large as `translation_batch_tokens` lets them."""


def batches_by_cost(lengths: Sequence[int], batch_tokens: int, step_rows: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, the longest first; padded, a batch holds at most `batch_tokens`.

    A segment that is longer than that is a batch of its own. `step_rows` is the price of a decoder step in rows.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups = [(length, list(indices)) for length, indices in groupby(order, key=lengths.__getitem__)]
    ends = [0, *accumulate(len(indices) for _, indices in groups)]
    for first, last in _cheapest_cuts([length for length, _ in groups], ends, batch_tokens, step_rows):
        together = order[ends[first] : ends[last]]
        pieces = _pieces(len(together), groups[first][0], batch_tokens)
        for piece in range(pieces):
            yield together[len(together) * piece // pieces : len(together) * (piece + 1) // pieces]


def token_limits(batch: Sequence[Sequence[int]], max_length_ratio: float) -> Tensor:
    """The most tokens that each segment's answer may have: `[B] int64`, language and end token not counted."""
    lengths = torch.tensor([len(ids) for ids in batch])
    return (lengths * max_length_ratio).long() + EXTRA_TOKENS


def _cheapest_cuts(
    lengths: Sequence[int], ends: Sequence[int], batch_tokens: int, step_rows: int
) -> list[tuple[int, int]]:
    """Ranges of `lengths` (distinct, falling); `ends[i]` segments come before the i-th."""
    cheapest = [0.0]
    cuts = [0]
    for last in range(1, len(lengths) + 1):
        costs = []
        for first in range(last):
            rows = ends[last] - ends[first]
            steps = (lengths[first] + EXTRA_TOKENS) * (rows + step_rows * _pieces(rows, lengths[first], batch_tokens))
            costs.append(cheapest[first] + steps)
        cheapest.append(min(costs))
        cuts.append(costs.index(cheapest[-1]))
    ranges = []
    last = len(lengths)
    while last:
        ranges.append((cuts[last], last))
        last = cuts[last]
    return ranges[::-1]


def _pieces(rows: int, longest: int, batch_tokens: int) -> int:
    """The number of batches that `rows` segments of up to `longest` tokens need."""
    rows_within = max(batch_tokens // max(longest, 1), 1)
    return -(-rows // rows_within)
