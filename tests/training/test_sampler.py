"""Which rows make up a step and a micro-batch."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cc_tuning.training.sampler import (
    BatchShape,
    LengthGroupedBatches,
    RowSizes,
    StepIndices,
    best_cuts,
    cost_of,
    cut_step,
    deal,
    order_of_rows,
    run_costs,
)

LENGTHS = st.lists(st.integers(1, 900), min_size=1, max_size=60)
SHAPES = st.builds(
    lambda ranks, device, rest, tokens, padding: BatchShape(ranks * device + rest, device, tokens, padding, ranks),
    st.integers(1, 4), st.integers(1, 5), st.integers(0, 7), st.integers(100, 4000), st.sampled_from([0.05, 0.2, 1.0]),
)  # fmt: skip


def shape_of(global_batch_size: int, device_batch_size: int, ranks: int = 1, max_padding: float = 0.05) -> BatchShape:
    return BatchShape(global_batch_size, device_batch_size, 16384, max_padding, ranks)


def sizes_of(lengths: list[int] | np.ndarray, english: list[int] | np.ndarray) -> RowSizes:
    """Of rows of one sequence."""
    return RowSizes.of(np.array(lengths)[:, None], np.array(english))


def steps_of(lengths: list[int], shape: BatchShape, epoch: int = 0, sequences: int = 1) -> list[list[StepIndices]]:
    """The steps of every rank; English prompts are half as long as their rows, each further sequence is shorter."""
    row_ids = [f"row {index}" for index in range(len(lengths))]
    of_sequences = np.stack([np.array(lengths) // number for number in range(1, sequences + 1)], axis=1).clip(1)
    english = (np.array(lengths) + 1) // 2
    ranks = []
    for rank in range(shape.ranks):
        batches = LengthGroupedBatches(row_ids, of_sequences, english, shape, seed=0, rank=rank)
        batches.set_epoch(epoch)
        ranks.append(list(batches))
        assert len(ranks[-1]) == len(batches)
    return ranks


def trained_batches(steps: list[StepIndices]) -> list[list[int]]:
    """The micro-batches that are trained, without the idle ones."""
    return [batch.rows for step in steps for batch in step.micro_batches if not batch.is_idle]


def trained_rows(steps: list[StepIndices]) -> list[int]:
    """What is trained in the steps."""
    return [row for rows in trained_batches(steps) for row in rows]


@given(LENGTHS, SHAPES, st.integers(0, 3))
def test_every_row_is_trained_once_and_ranks_keep_step(lengths: list[int], shape: BatchShape, epoch: int) -> None:
    ranks = steps_of(lengths, shape, epoch)
    for step in zip(*ranks, strict=True):
        assert len({len(of_rank.micro_batches) for of_rank in step}) == 1
        assert all(batch.rows for of_rank in step for batch in of_rank.micro_batches)
        assert {of_rank.epoch for of_rank in step} == {epoch}
    assert Counter(row for steps in ranks for row in trained_rows(steps)) == Counter(range(len(lengths)))


@given(LENGTHS, SHAPES)
def test_rows_of_a_step_follow_the_order_of_the_epoch_whatever_the_devices_and_the_memory(
    lengths: list[int], shape: BatchShape
) -> None:
    size = shape.global_batch_size
    order = order_of_rows([f"row {index}" for index in range(len(lengths))], seed=0, epoch=0)
    expected = [Counter(order[start : start + size]) for start in range(0, len(order), size)]
    ranks = steps_of(lengths, shape)
    assert [Counter(trained_rows([*step])) for step in zip(*ranks, strict=True)] == expected


@given(LENGTHS, SHAPES, st.integers(1, 3))
def test_micro_batches_keep_the_bounds_of_memory_and_padding(
    lengths: list[int], shape: BatchShape, sequences: int
) -> None:
    """A row of several sequences has all of them in one micro-batch, padded to the longest."""
    tokens_of = [sum(max(length // number, 1) for number in range(1, sequences + 1)) for length in lengths]
    for step in zip(*steps_of(lengths, shape, sequences=sequences), strict=True):
        batches = trained_batches([*step])
        sizes = [len(batch) for batch in batches]
        padded = [sequences * len(batch) * max(lengths[row] for row in batch) for batch in batches]
        real = sum(tokens_of[row] for batch in batches for row in batch)
        assert all(tokens <= shape.device_batch_tokens or rows == 1 for tokens, rows in zip(padded, sizes, strict=True))
        assert np.mean(sizes) <= shape.device_batch_size
        assert 1 - real / sum(padded) < shape.max_padding or max(sizes) == 1


def test_order_follows_row_ids_seed_and_epoch_alone() -> None:
    ids = [f"row {index}" for index in range(50)]
    ordered = [ids[index] for index in order_of_rows(ids, seed=1, epoch=2)]
    backwards = ids[::-1]
    assert [backwards[index] for index in order_of_rows(backwards, seed=1, epoch=2)] == ordered
    others = [order_of_rows(ids, seed=seed, epoch=epoch) for seed, epoch in ((1, 2), (1, 3), (2, 2))]
    assert len({tuple(order) for order in others}) == 3


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_sample_order_is_the_same_on_any_number_of_ranks(ranks: int) -> None:
    lengths = [int(length) for length in np.random.default_rng(3).integers(5, 400, 150)]
    one = [sorted(trained_rows([step])) for step in steps_of(lengths, shape_of(32, 4))[0]]
    several = steps_of(lengths, shape_of(32, 4, ranks))
    assert [sorted(trained_rows([*step])) for step in zip(*several, strict=True)] == one


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=7), st.integers(20, 400))
def test_cuts_are_the_best_of_all(rows: list[tuple[int, int]], most_tokens: int) -> None:
    lengths = np.array(sorted((length for length, _ in rows), reverse=True))
    english = np.array([length for _, length in rows])

    def cost(cuts: tuple[int, ...] | list[int]) -> float:
        runs = list(zip(np.split(lengths, cuts), np.split(english, cuts), strict=True))
        if any(len(run) > 1 and len(run) * run[0] > most_tokens for run, _ in runs):
            return float("inf")
        return sum((len(run) * (int(run[0]) + int(of_english.max()) / 3)) ** 2 for run, of_english in runs)

    found = list(best_cuts(run_costs(sizes_of(lengths, english), most_tokens)))
    assert len(found) == len(lengths)
    for groups, cuts in enumerate(found, start=1):
        least = min(cost(every) for every in combinations(range(1, len(lengths)), groups - 1))
        assert (cuts is None) == (least == float("inf"))
        if cuts is not None:
            assert len(cuts) == groups - 1
            assert cost(cuts) == pytest.approx(least)


@pytest.mark.parametrize(("global_batch", "device_batch", "ranks"), [(128, 16, 1), (128, 16, 8), (32, 8, 1)])
def test_lengths_like_those_of_instructions_leave_little_padding(
    global_batch: int, device_batch: int, ranks: int
) -> None:
    """Log-normal lengths, as human instruction rows have: median about 110 tokens, one in a hundred above 1,000."""
    drawn = np.random.default_rng(0).lognormal(4.7, 1.0, 10 * global_batch)
    lengths = [int(length) for length in np.clip(drawn, 8, 1024)]
    batches = [
        batch.rows
        for steps in steps_of(lengths, shape_of(global_batch, device_batch, ranks))
        for step in steps
        for batch in step.micro_batches
    ]
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert 1 - sum(lengths) / padded < 0.05


def test_equal_lengths_are_cut_evenly() -> None:
    assert cut_step(sizes_of([40] * 12, [0] * 12), shape_of(12, 3)) == [3, 6, 9]


def test_micro_batches_of_equal_length_are_as_few_as_memory_allows() -> None:
    sizes = sizes_of([100] * 64, [60] * 64)
    assert cut_step(sizes, BatchShape(64, 64, 6400, 0.05)) == []
    assert len(cut_step(sizes, BatchShape(64, 64, 6399, 0.05))) == 1
    assert len(cut_step(sizes, BatchShape(64, 64, 800, 0.05, ranks=2))) == 7


@given(lengths=LENGTHS, pass_tokens=st.integers(0, 3000))
@example(lengths=[3, 4, 5, 8], pass_tokens=1)  # two ways cost the same: the one of fewer micro-batches
@example(lengths=[1, 3, 35], pass_tokens=1)  # a row for each would be cheaper, and is more than the bound asks for
def test_a_micro_batch_is_not_made_that_costs_more_than_the_padding_it_saves(
    lengths: list[int], pass_tokens: int
) -> None:
    widths = sorted(lengths, reverse=True)
    sizes = sizes_of(widths, [0] * len(widths))

    def cost(cuts: list[int]) -> int:
        runs = np.split(np.array(widths), cuts)
        return sum(len(run) * int(run[0]) for run in runs) + pass_tokens * len(runs)

    free = shape_of(len(widths), 4)
    priced = BatchShape(len(widths), 4, 16384, 0.05, pass_tokens=pass_tokens)
    found, at_most = cut_step(sizes, priced), len(cut_step(sizes, free))
    assert len(found) <= at_most
    candidates = [
        cuts
        for groups, cuts in enumerate(best_cuts(run_costs(sizes, 16384)), start=1)
        if cuts is not None and -(-len(widths) // 4) <= groups <= at_most + 1
    ]
    assert cost(found) == min(map(cost, candidates)) or pass_tokens == 0


def test_long_english_prompts_are_kept_apart_from_short_ones() -> None:
    sizes = sizes_of([100] * 8, [500] * 4 + [20] * 4)
    assert cut_step(sizes, shape_of(8, 4)) == [4]


def test_work_is_dealt_evenly() -> None:
    costs = [10.0, 9.0, 8.0, 7.0, 2.0, 1.0]
    dealt = deal([[index] for index in range(6)], costs, ranks=2)
    assert dealt == [[[0], [3], [4]], [[1], [2], [5]]]
    assert [sum(costs[index] for (index,) in rank) for rank in dealt] == [19.0, 18.0]


def test_cost_of_a_micro_batch_is_three_passes_of_its_rows_and_one_of_its_english_prompts() -> None:
    assert cost_of(sizes_of([90, 60], [30, 60])) == 2 * (90 + 60 / 3)
    four_sequences = RowSizes.of(np.array([[90, 10, 10, 10], [60, 60, 60, 60]]), np.array([30, 60]))
    assert cost_of(four_sequences) == 4 * 2 * (90 + 60 / 3)
