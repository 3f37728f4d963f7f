"""A draw depends on the seed and the ids, and on nothing around them."""

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.text.draws import draw_order, draw_places

IDS = st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True)


@given(IDS, st.integers(min_value=0, max_value=1 << 31), st.randoms(use_true_random=False))
def test_a_place_is_the_same_whatever_stands_around_its_id(ids: list[str], seed: int, mixing: random.Random) -> None:
    places = dict(zip(ids, draw_places(ids, seed), strict=True))
    shuffled = mixing.sample(ids, mixing.randint(1, len(ids)))
    assert dict(zip(shuffled, draw_places(shuffled, seed), strict=True)) == {name: places[name] for name in shuffled}


def test_places_are_the_beginning_of_a_sha256() -> None:
    (place,) = draw_places(["row"], seed=7)
    assert place == int(hashlib.sha256(b"7:row").hexdigest()[:16], 16)


def test_an_order_is_a_sha256_of_seed_and_ids_line_by_line() -> None:
    assert draw_order(7, "pair") == hashlib.sha256(b"7\npair").hexdigest()
    assert draw_order(7, "pair", "word") == hashlib.sha256(b"7\npair\nword").hexdigest()


def test_another_seed_draws_others() -> None:
    ids = [str(number) for number in range(100)]
    first, second = (sorted(ids, key=lambda name: draw_order(seed, name))[:10] for seed in (0, 1))
    assert first != second
