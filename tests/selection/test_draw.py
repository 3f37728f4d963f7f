"""The draw: exact quotas, and within a language always the rows of the lowest hashes."""

import hashlib
from collections import Counter
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.draw import draw_rows, quotas
from cc_tuning.text.draws import draw_places
from tests.reference.selection import quotas_by_level

SIZES = {"fra_Latn": 10, "spa_Latn": 90, "swh_Latn": 900}


def lines(sizes: dict[str, int], seed: int = 0) -> pl.DataFrame:
    rows = [(f"{code}-{number}", code) for code, size in sizes.items() for number in range(size)]
    frame = pl.DataFrame(rows, schema=["row_id", "flores_code"], orient="row")
    places = draw_places(frame["row_id"].to_list(), seed)
    return frame.with_columns(pl.lit(None, pl.Int64).alias("answer_rank"), place=places)


def drawn(sizes: dict[str, int], **config: object) -> Counter[str]:
    return Counter(draw_rows(lines(sizes), SelectionConfig.model_validate(config))["flores_code"].to_list())


languages = st.dictionaries(
    st.text("abcde", min_size=1, max_size=2), st.tuples(st.integers(1, 50), st.integers(1, 40)), min_size=1, max_size=8
)


@settings(deadline=None)
@given(languages, st.integers(1, 400))
def test_quotas_are_those_of_a_rising_level(drawn_languages: dict[str, tuple[int, int]], total: int) -> None:
    weights = {code: Fraction(weight) for code, (weight, _) in drawn_languages.items()}
    capacities = {code: capacity for code, (_, capacity) in drawn_languages.items()}
    given_rows = quotas(weights, capacities, total)
    assert given_rows == quotas_by_level(weights, capacities, total)
    assert sum(given_rows.values()) == min(total, sum(capacities.values()))


def test_defaults_take_the_lowest_hashes_of_all_rows() -> None:
    rows = lines(SIZES)
    by_hash = sorted(rows["row_id"], key=lambda row_id: hashlib.sha256(f"0:{row_id}".encode()).hexdigest())
    chosen = draw_rows(rows.sample(fraction=1, shuffle=True, seed=1), SelectionConfig(rows=100))
    assert chosen["row_id"].to_list() == sorted(by_hash[:100])


@pytest.mark.parametrize("temperature", [0, 0.5, 1])
def test_each_language_gives_its_own_lowest_hashes_in_any_order_of_rows(temperature: float) -> None:
    rows = lines(SIZES, seed=3)
    config = SelectionConfig(rows=200, temperature=temperature, max_rows_per_language=120, seed=3)
    chosen = draw_rows(rows, config)
    assert chosen.equals(draw_rows(rows.reverse(), config))
    assert chosen.height == 200
    for (code,), part in chosen.group_by("flores_code"):
        lowest = rows.filter(pl.col("flores_code") == code).sort("place").head(part.height)
        assert set(part["row_id"]) == set(lowest["row_id"])


def test_temperature_goes_from_the_sources_shares_to_equal_ones() -> None:
    # 10, 90 and 900 rows: roots 3.16, 9.49 and 30, together 42.65; of 100 rows 7.4, 22.2 and 70.3.
    assert drawn(SIZES, rows=100, temperature=0.5) == {"fra_Latn": 8, "spa_Latn": 22, "swh_Latn": 70}
    # French has 10 of its 33 rows; the other two divide what it leaves.
    assert drawn(SIZES, rows=100, temperature=0) == {"fra_Latn": 10, "spa_Latn": 45, "swh_Latn": 45}


def test_a_cap_holds_and_others_take_what_it_leaves() -> None:
    for temperature in (0.0, 0.7, 1.0):
        counts = drawn(SIZES, rows=150, temperature=temperature, max_rows_per_language=60)
        assert counts == {"fra_Latn": 10, "spa_Latn": 60, "swh_Latn": 60}
    assert drawn(SIZES, rows=50, max_rows_per_language=30)["swh_Latn"] == 30
