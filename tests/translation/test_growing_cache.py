"""The growing cache holds what a concatenating one holds, also after beams change places."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from cc_tuning.translation.transformers_generator import GrowingLayer

STEPS = st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["append", "reorder", "select", "crop"])), max_size=12)


@given(steps=STEPS, seed=st.integers(0, 9))
def test_it_holds_what_the_concatenating_cache_holds(steps: list[tuple[int, str]], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    growing, reference = GrowingLayer(), DynamicLayer()
    for new, after in steps:
        keys, values = torch.randn(2, 3, 2, new, 4, generator=draw)
        held, expected = growing.update(keys, values), reference.update(keys, values)
        assert all(map(torch.equal, held, expected))
        rows = torch.randint(3, (3,), generator=draw)
        for layer in (growing, reference):
            if after == "reorder":
                layer.reorder_cache(rows)
            elif after == "select":
                layer.batch_select_indices(rows)
            elif after == "crop":
                layer.crop(-1)
        assert growing.get_seq_length() == reference.get_seq_length()
        assert torch.equal(growing.keys, reference.keys)
        assert torch.equal(growing.values, reference.values)


def test_a_token_does_not_move_what_was_there_before() -> None:
    layer = GrowingLayer()
    layer.update(*torch.randn(2, 3, 2, 5, 4))
    place = layer.keys.data_ptr()
    for _ in range(20):
        layer.update(*torch.randn(2, 3, 2, 1, 4))
    assert layer.keys.data_ptr() == place
    assert layer.get_seq_length() == 25
