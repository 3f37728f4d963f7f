"""Which rows of a step are read again, against a simulation that keeps a list of tokens for each request."""

import numpy as np
import torch
from cc_tuning_vllm.suffix_rows import SuffixRows, key_of_tokens
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.model.positions import key_of_rows
from tests.model.tiny_connected import left_padded

REQUESTS = st.lists(
    st.tuples(st.integers(-1, 30), st.integers(0, 40), st.integers(1, 20)),  # t*, computed before, scheduled now
    min_size=1,
    max_size=6,
)


@given(REQUESTS)
def test_rows_are_t_star_and_what_follows_it_in_the_step(requests: list[tuple[int, int, int]]) -> None:
    flat = [
        (place, token)
        for place, (_, computed, scheduled) in enumerate(requests)
        for token in range(computed, computed + scheduled)
    ]
    present = [place for place, (position, _, _) in enumerate(requests) if (place, position) in flat]
    positions, computed, scheduled = (np.array(column) for column in zip(*requests, strict=True))
    got = SuffixRows.of_step(positions, np.concatenate([[0], np.cumsum(scheduled)]), computed)
    if not present:
        assert got is None
        return
    assert got is not None
    assert got.requests.tolist() == present
    assert [flat[row] for row in got.rows] == [
        (place, token) for place, token in flat if place in present and token >= requests[place][0]
    ]
    assert [flat[got.rows[at]] for at in got.places] == [(place, requests[place][0]) for place in present]
    assert got.lengths.tolist() == [requests[place][1] + requests[place][2] for place in present]


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=300))
def test_the_random_layer_is_drawn_by_the_number_that_evaluation_draws_by(token_ids: list[int]) -> None:
    batch = left_padded([token_ids], padding=3)
    position = torch.tensor([batch["input_ids"].shape[1] - 1])
    expected = key_of_rows(batch["input_ids"], batch["attention_mask"], position)
    assert key_of_tokens(np.array(token_ids)) == int(expected)
