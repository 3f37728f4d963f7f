"""Intervals where the bootstrap would collapse, against textbook figures and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.evaluation.statistics.differences import PERCENT, Difference, differences_of
from cc_tuning.evaluation.statistics.intervals import Settings, mean_intervals, wilson_intervals
from cc_tuning.evaluation.statistics.seeds import Spread, joint_margin, joint_p, seed_spreads
from cc_tuning.evaluation.statistics.units import Cells, average_sample

QUICK = Settings(samples=400)


def cells_of(items: int, languages: int = 1, items_per_unit: int = 1) -> Cells:
    places = np.arange(items * languages)
    names = tuple(f"l{place}" for place in range(languages))
    return Cells(names, places % languages, places // languages // items_per_unit)


def interval_of(values: list[float], bounds: tuple[float, float] | None = PERCENT) -> tuple[float, float, float]:
    sample = average_sample(np.array(values)[:, None], cells_of(len(values)))
    low, high = mean_intervals(sample, bounds, QUICK)
    return float(sample.value[0]), float(low[0]), float(high[0])


def difference_of(ours: list[float], theirs: list[float], bounds: tuple[float, float] | None = PERCENT) -> Difference:
    a, b = (np.array(values)[:, None] for values in (ours, theirs))
    (found,) = differences_of(a, b, cells_of(len(ours)), bounds=bounds, settings=QUICK)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("right", "items", "low", "high"),
    # by Wilson's formula, worked out by hand: 0 of n has the upper end z²/(n + z²)
    [(0, 10, 0.0, 27.75), (10, 10, 72.25, 100.0), (1, 10, 1.79, 40.42), (2, 50, 1.10, 13.46), (0, 1, 0.0, 79.35)],
)
def test_rare_answers_have_the_interval_of_wilson(right: int, items: int, low: float, high: float) -> None:
    found = interval_of([100.0] * right + [0.0] * (items - right))
    assert found == pytest.approx((100 * right / items, low, high), abs=0.006)


def test_languages_that_agree_count_as_one_item_and_those_that_do_not_as_several() -> None:
    cells = cells_of(40, languages=5)
    together, apart = np.zeros((200, 1)), np.zeros((200, 1))
    together[:15] = 100.0  # three items right in every language
    apart[np.arange(15) * 11] = 100.0  # fifteen single answers
    widths = []
    for values in (together, apart):
        low, high = wilson_intervals(average_sample(values, cells), PERCENT, 0.95)
        widths.append(float(high[0] - low[0]))
    assert widths[0] == pytest.approx(17.0, abs=1.5)  # 3 of 40: 2.6 to 19.9
    assert widths[1] == pytest.approx(7.5, abs=1.0)  # 15 of 200: 4.6 to 12.0


def test_no_difference_at_all_has_the_interval_of_bonett_and_price() -> None:
    found = difference_of([0.0] * 10, [0.0] * 10)
    half = 100 * 1.959964 * np.sqrt(2 / 12) / np.sqrt(12)
    assert (found.value, found.low, found.high) == pytest.approx((0, -half, half))
    assert found.p == 1


@pytest.mark.parametrize(("b", "c", "n"), [(1, 12, 50), (3, 1, 44), (0, 5, 30), (7, 2, 90)])
def test_few_discordant_answers_have_the_interval_of_bonett_and_price(b: int, c: int, n: int) -> None:
    """Their formula, written for counts: both probabilities are (count + 1)/(n + 2)."""
    ours = [100.0] * b + [0.0] * c + [100.0] * (n - b - c)
    theirs = [0.0] * b + [100.0] * c + [100.0] * (n - b - c)
    p12, p21 = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = 1.959964 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    found = difference_of(ours, theirs)
    assert found.value == pytest.approx(100 * (b - c) / n)
    assert found.low == pytest.approx(100 * (p12 - p21 - half), abs=1e-6)
    assert found.high == pytest.approx(100 * (p12 - p21 + half), abs=1e-6)


@given(st.lists(st.sampled_from([(0, 0), (0, 100), (100, 0), (100, 100), (30, 70)]), min_size=1, max_size=30))
def test_interval_of_bounded_scores_never_collapses_and_holds_its_mean(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    value, low, high = interval_of(ours)
    assert 0 <= low <= value + 1e-9 and value - 1e-9 <= high <= 100 and high - low > 1
    found = difference_of(ours, theirs)
    assert -100 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 100
    assert found.high - found.low > 1
    assert 0 <= found.p <= 1
    swapped = difference_of(theirs, ours)
    assert swapped.p == pytest.approx(found.p)
    if len(pairs) <= 20:  # too few for the bootstrap, whose draws are not symmetric
        assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))


def test_scores_without_bounds_never_collapse_either() -> None:
    same = [1.5, 0.5, 2.0, 1.0] * 5
    found = difference_of(same, same, bounds=None)
    assert found.low < 0 < found.high and found.p == 1
    assert found.high < 2.0  # less than the largest score, which is the largest difference there can be
    assert interval_of([2.0], bounds=None)[2] > 4
    value, low, high = interval_of([1.0, 2.0, 4.0], bounds=None)
    half = 4.30265 * np.std([1, 2, 4], ddof=1) / np.sqrt(3)
    assert low <= value - half + 1e-4 and high >= value + half - 1e-4  # at least Student's


def test_measurements_without_a_common_item_have_no_difference() -> None:
    ours, theirs = np.full((4, 2), 100.0), np.zeros((4, 2))
    ours[2:, 0] = np.nan
    theirs[:2, 0] = np.nan
    none, found = differences_of(ours, theirs, cells_of(4), bounds=PERCENT, settings=QUICK)
    assert none is None
    assert found is not None and found.value == 100


def test_seeds_widen_an_interval_and_never_narrow_it() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = (list(100.0 * (draw.random(200) < share)) for share in (0.7, 0.5))
    items = difference_of(ours, theirs)
    assert items.low > 0 and items.p < 0.05
    assert items.over_seeds((), 0.95) is items
    close = items.over_seeds(seed_spreads([19.9, 20.0, 20.1], ()), 0.95)
    assert close.low == pytest.approx(items.low, abs=0.2) and close.p < 0.05
    far = items.over_seeds(seed_spreads([5.0, 20.0, 35.0], ()), 0.95)
    assert far.low < 0 < far.high and far.p > 0.05
    assert far.smallest_showable(0.95) > items.smallest_showable(0.95)
    wide = items.over_seeds(seed_spreads([-80.0, 80.0], ()), 0.95, largest=100.0)
    assert (wide.low, wide.high) == (-100, 100)


def test_margin_over_items_and_seeds_is_the_root_of_both_squared() -> None:
    items, seeds = Spread(1.0, 1000), Spread(2.0, 2)
    margin = joint_margin((items, seeds), 0.95)
    assert margin == pytest.approx(np.hypot(1.96234, 2 * 4.30265), abs=1e-4)
    assert joint_p(margin, (items, seeds)) == pytest.approx(0.05, abs=1e-9)
    assert joint_p(0.0, (items, seeds)) == 1
    assert joint_p(-margin, (items,)) < joint_p(margin, (items, seeds))
    (both,) = seed_spreads([1.0, 2.0, 3.0], [5.0])
    assert both == Spread(pytest.approx(1 / np.sqrt(3)), 2)
    assert len(seed_spreads([1.0, 2.0], [3.0, 5.0])) == 2
    assert seed_spreads([1.0], []) == ()
