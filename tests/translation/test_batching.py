"""Segments in batches: each once, within the budget, and no other choice of batches costs less."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.translation.batching import EXTRA_TOKENS, batches_by_cost


def cost(lengths: list[int], batches: list[list[int]], step_rows: int) -> int:
    return sum((max(lengths[i] for i in batch) + EXTRA_TOKENS) * (len(batch) + step_rows) for batch in batches)


def cheapest(lengths: list[int], step_rows: int) -> int:
    """By trying every way to cut the sorted lengths."""
    ordered = sorted(lengths, reverse=True)
    best: list[int] = [0]
    for end in range(1, len(ordered) + 1):
        best.append(min(best[i] + (ordered[i] + EXTRA_TOKENS) * (end - i + step_rows) for i in range(end)))
    return best[-1]


@given(
    lengths=st.lists(st.integers(1, 60), max_size=40),
    batch_tokens=st.integers(1, 200),
    step_rows=st.sampled_from([1, 16, 512]),
)
def test_batches_hold_each_segment_once_within_the_budget(
    lengths: list[int], batch_tokens: int, step_rows: int
) -> None:
    batches = list(batches_by_cost(lengths, batch_tokens, step_rows))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= batch_tokens
    for before, after in pairwise(batches):
        assert min(lengths[index] for index in before) >= max(lengths[index] for index in after)


@given(lengths=st.lists(st.integers(0, 100), max_size=30), step_rows=st.sampled_from([1, 4, 16, 512]))
def test_no_other_cut_costs_less(lengths: list[int], step_rows: int) -> None:
    batches = list(batches_by_cost(lengths, 1 << 40, step_rows))
    assert cost(lengths, batches, step_rows) == cheapest(lengths, step_rows)


def test_a_dear_step_makes_wide_batches_and_a_cheap_one_narrow() -> None:
    lengths = [1, 2, 50, 51]
    assert len(list(batches_by_cost(lengths, 4096, 512))) == 1
    assert list(batches_by_cost(lengths, 4096, 1)) == [[3, 2], [1, 0]]
