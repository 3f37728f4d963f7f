"""P values against exact counting, printed tables and each other."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cc_tuning.evaluation.statistics.differences import differences_of
from cc_tuning.evaluation.statistics.distributions import (
    normal_quantile,
    normal_tails,
    student_quantile,
    student_tails,
)
from cc_tuning.evaluation.statistics.intervals import Settings
from cc_tuning.evaluation.statistics.significance import clustered_mcnemar_p, difference_p, holm, sign_flip_p
from cc_tuning.evaluation.statistics.units import Cells


@pytest.mark.parametrize(
    ("confidence", "degrees", "printed"),
    [
        (0.95, 1, 12.7062), (0.95, 2, 4.30265), (0.95, 3, 3.18245), (0.95, 10, 2.22814), (0.99, 5, 4.03214),
        (0.95, 30, 2.04227), (0.95, 120, 1.97993), (0.95, 1000, 1.96234), (0.6, 9, 0.88340), (0.6, 1, 1.37638),
    ],
)  # fmt: skip
def test_student_quantiles_are_those_of_a_printed_table(confidence: float, degrees: int, printed: float) -> None:
    assert student_quantile(confidence, degrees) == pytest.approx(printed, abs=1e-5)
    assert student_tails(printed, degrees) == pytest.approx(1 - confidence, abs=1e-5)


def test_tails_are_smooth_where_the_method_changes_and_become_normal() -> None:
    for t in (0.5, 2.0, 5.0):
        around = [student_tails(t, degrees) for degrees in (199, 200, 201, 202)]
        steps = np.diff(around)
        assert steps == pytest.approx(np.full(3, steps[0]), rel=0.2, abs=1e-8)
        assert student_tails(t, 10**7) == pytest.approx(normal_tails(t), rel=5e-5)
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert normal_tails(1.959964) == pytest.approx(0.05, abs=1e-7)


def counted_p(differences: list[float]) -> float:
    """The definition, sign by sign: beyond what was seen counts whole, as far counts half, on either side."""
    seen, beyond, level = abs(sum(differences)), 0.0, 0.0
    for signs in itertools.product((1, -1), repeat=len(differences)):
        total = abs(sum(sign * abs(value) for sign, value in zip(signs, differences, strict=True)))
        beyond += total > seen + 1e-9
        level += abs(total - seen) <= 1e-9
    return 1.0 if seen <= 1e-9 else (beyond + 0.5 * level) / 2 ** len(differences)


@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0, 1.0, 2.0, 5.0]), min_size=1, max_size=8))
def test_sign_flips_are_counted_exactly(differences: list[float]) -> None:
    assert sign_flip_p(np.array(differences)) == pytest.approx(counted_p(differences))


@pytest.mark.parametrize(("b", "c"), [(1, 5), (0, 6), (8, 8), (3, 14), (60, 85), (400, 470)])
def test_equal_differences_give_the_exact_mcnemar_test_with_mid_p(b: int, c: int) -> None:
    n, fewer = b + c, min(b, c)
    at = math.comb(n, fewer) / 2**n
    expected = 1.0 if b == c else 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n - at
    differences = np.array([0.25] * b + [-0.25] * c)
    assert sign_flip_p(differences) == pytest.approx(expected)
    assert difference_p(differences, 1.0, n - 1, is_right_or_wrong=True) == pytest.approx(expected)


def test_clustered_mcnemar_is_mcnemar_for_single_items_and_wider_for_clusters() -> None:
    singles = np.array([1.0] * 40 + [-1.0] * 20)
    chi_square = (40 - 20) ** 2 / (40 + 20)
    assert clustered_mcnemar_p(singles) == pytest.approx(normal_tails(math.sqrt(chi_square)))
    # The same answers in clusters of four that all went one way: 10 against 5.
    clusters = np.array([4.0] * 10 + [-4.0] * 5)
    assert clustered_mcnemar_p(clusters) == pytest.approx(normal_tails(math.sqrt((10 - 5) ** 2 / 15)))
    # One that went either way adds nothing to the difference.
    assert clustered_mcnemar_p(np.array([0.0])) == 1


def test_other_scores_have_the_t_test_of_their_units() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, size=(40, 1))
    cells = Cells(("en",), np.zeros(40, dtype=np.intp), np.arange(40))
    (found,) = differences_of(values, np.zeros((40, 1)), cells, bounds=None, settings=Settings(samples=300))
    assert found is not None
    t = values.mean() / (values.std(ddof=1) / np.sqrt(40))
    assert found.p == pytest.approx(student_tails(float(t), 39))
    # Of 40 values with this spread, 80 of 100 samples would show a difference this large.
    error = values.std(ddof=1) / np.sqrt(40)
    assert found.smallest_showable(0.95) == pytest.approx((2.02269 + 0.85070) * error, rel=1e-4)


def test_smallest_showable_difference_is_shown_four_times_out_of_five() -> None:
    draw = np.random.default_rng(7)
    cells = Cells(("en",), np.zeros(60, dtype=np.intp), np.arange(60))
    noise = draw.normal(0, 1, size=(60, 1000))
    first = differences_of(noise, np.zeros_like(noise), cells, bounds=None, settings=Settings(samples=10))
    showable = np.mean([one.smallest_showable(0.95) for one in first if one])
    moved = differences_of(noise + showable, np.zeros_like(noise), cells, bounds=None, settings=Settings(samples=10))
    assert np.mean([one.p < 0.05 for one in moved if one]) == pytest.approx(0.8, abs=0.04)


def test_holm_is_the_step_down_procedure() -> None:
    # Worked by hand: 4 × 0.01, 3 × 0.015 (0.045), 2 × 0.02 is smaller than the one before, 1 × 0.3.
    assert holm([0.02, 0.01, 0.3, 0.015]) == pytest.approx([0.045, 0.04, 0.3, 0.045])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_through_the_ordered_p_values_rejects(p_values: list[float]) -> None:
    level, rejected = 0.05, set()
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] * (len(p_values) - step) > level:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(p_values)) if p <= level} == rejected
