"""Which rows make up a step and a micro-batch."""

from collections import Counter
from itertools import combinations
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.training.batches import BatchShape, LengthGroupedBatches, even_cuts, order_of_rows

SHAPES = st.builds(
    lambda ranks, device, rest: BatchShape(ranks * device + rest, device, ranks),
    st.integers(1, 3), st.integers(1, 5), st.integers(0, 7),
)  # fmt: skip


def batches_of(lengths: list[int], shape: BatchShape, epoch: int = 0) -> list[list[list[int]]]:
    """The micro-batches of every rank."""
    row_ids = [f"row {index}" for index in range(len(lengths))]
    ranks = []
    for rank in range(shape.ranks):
        batches = LengthGroupedBatches(row_ids, lengths, shape, seed=0, rank=rank)
        batches.set_epoch(epoch)
        ranks.append(list(batches))
        assert len(ranks[-1]) == len(batches)
    return ranks


@given(st.lists(st.integers(1, 900), min_size=1, max_size=60), SHAPES, st.integers(0, 3))
def test_every_row_is_trained_once_and_ranks_keep_step(lengths: list[int], shape: BatchShape, epoch: int) -> None:
    ranks = batches_of(lengths, shape, epoch)
    assert len({len(batches) for batches in ranks}) == 1
    assert all(batch for batches in ranks for batch in batches)
    trained = Counter(row for batches in ranks for batch in batches for row in batch if row >= 0)
    assert trained == Counter(range(len(lengths)))


@given(st.lists(st.integers(1, 900), min_size=2, max_size=60), SHAPES)
def test_rows_of_a_step_do_not_depend_on_devices(lengths: list[int], shape: BatchShape) -> None:
    size = shape.global_batch_size
    order = order_of_rows([f"row {index}" for index in range(len(lengths))], seed=0, epoch=0)
    steps = [set(order[start : start + size]) for start in range(0, len(order), size)]
    ranks = batches_of(lengths, shape)
    for step, rows in enumerate(steps):
        per_rank = ceil(size / (shape.device_batch_size * shape.ranks))
        window = slice(step * per_rank, (step + 1) * per_rank)
        drawn = {row for batches in ranks for batch in batches[window] for row in batch if row >= 0}
        assert drawn == rows


def test_order_follows_row_ids_seed_and_epoch_alone() -> None:
    ids = [f"row {index}" for index in range(50)]
    ordered = [ids[index] for index in order_of_rows(ids, seed=1, epoch=2)]
    backwards = ids[::-1]
    assert [backwards[index] for index in order_of_rows(backwards, seed=1, epoch=2)] == ordered
    others = [order_of_rows(ids, seed=seed, epoch=epoch) for seed, epoch in ((1, 2), (1, 3), (2, 2))]
    assert len({tuple(order) for order in others}) == 3


@given(st.lists(st.integers(1, 50), min_size=1, max_size=7), st.integers(1, 7))
def test_cuts_are_the_best_of_all(lengths: list[int], groups: int) -> None:
    descending = np.array(sorted(lengths, reverse=True))

    def cost(cuts: tuple[int, ...] | list[int]) -> int:
        return sum((len(run) * int(run[0])) ** 2 for run in np.split(descending, cuts))

    groups = min(groups, len(lengths))
    every = [cost(cuts) for cuts in combinations(range(1, len(lengths)), groups - 1)]
    cuts = even_cuts(descending, groups)
    assert len(cuts) == groups - 1
    assert cost(cuts) == min(every)


def test_lengths_like_those_of_instructions_leave_little_padding() -> None:
    """Log-normal lengths, as human instruction rows have: median about 110 tokens, one in a hundred above 1,000."""
    drawn = np.random.default_rng(0).lognormal(4.7, 1.0, 1280)
    lengths = [int(length) for length in np.clip(drawn, 8, 1024)]
    ((*batches,),) = batches_of(lengths, BatchShape(128, 4))
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert 1 - sum(lengths) / padded < 0.05
    largest = max(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert largest < 4 * padded / len(batches)


def test_equal_lengths_are_cut_evenly() -> None:
    assert even_cuts(np.full(12, 40), 4) == [3, 6, 9]


@pytest.mark.parametrize(("rows", "micro_batches"), [(1, 1), (8, 1), (9, 2), (128, 16)])
def test_micro_batches_of_a_step(rows: int, micro_batches: int) -> None:
    assert BatchShape(128, 4, 2).micro_batches(rows) == micro_batches
