"""P values of paired differences, their adjustment for several comparisons, and what could have been shown at all."""

import math
from collections.abc import Sequence

import numpy as np

from cc_tuning.evaluation.statistics.distributions import normal_tails, student_tails
from cc_tuning.evaluation.statistics.units import Floats

POWER = 0.8
"""Of the smallest difference that could have been shown."""
_ENUMERATED = 12
"""With so many units that differ, all 4,096 ways in which their signs can fall are counted."""
_EQUAL = 1e-9
_ZERO = 1e-12
"""Parts of a mean carry rounding of about 1e-17."""


def sign_flip_p(differences: Floats) -> float:
    """The two-sided mid-p value of what units differ by, exact; `differences [n]`, none of them 0.

    Where two runs are equally good, each difference could as well have the other sign. Half the probability of what was
    seen and all of what is further from 0 count, for all 2ⁿ ways to choose the signs; with equal differences that is
    the exact McNemar test with mid-p (Fagerland, Lydersen and Laake 2013), which is counted from the binomial
    distribution for any n.
    """
    sizes = np.abs(differences)
    count = len(sizes)
    if not count:
        return 1.0
    if sizes.max() - sizes.min() <= _EQUAL * sizes.max():
        return _mid_p_of_binomial(int((differences > 0).sum()), count)
    assert count <= _ENUMERATED, count
    signs = 1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
    sums, seen = np.abs(signs @ sizes), abs(float(differences.sum()))
    margin = _EQUAL * sizes.sum()
    if seen <= margin:
        return 1.0
    return float(((sums > seen + margin).sum() + 0.5 * (np.abs(sums - seen) <= margin).sum()) / 2**count)


def clustered_mcnemar_p(differences: Floats) -> float:
    """McNemar's test for units of any size: Z = Σ d / √(Σ d²) is normal where both are equally often right.

    With single items d is 1, 0 or −1 and Z² the usual (b − c)²/(b + c); for clusters it is the test of Durkalski et al.
    (2003), with the weights of our average.
    """
    squares = float(np.square(differences).sum())
    return normal_tails(float(differences.sum()) / math.sqrt(squares)) if squares else 1.0


def difference_p(differences: Floats, error: float, degrees: int, *, is_right_or_wrong: bool) -> float:
    """The two-sided p value of a mean difference with its standard error.

    `differences [G]` are the parts of the units, which sum to the mean. Few units that differ: `sign_flip_p`. Right or
    wrong answers: McNemar, exact with single items, clustered otherwise. All else: Student's t with G − 1 degrees of
    freedom.
    """
    moving = differences[np.abs(differences) > _ZERO]
    if not len(moving):
        return 1.0
    sizes = np.abs(moving)
    if len(moving) <= _ENUMERATED or (is_right_or_wrong and sizes.max() - sizes.min() <= _EQUAL * sizes.max()):
        return sign_flip_p(moving)
    if is_right_or_wrong:
        return clustered_mcnemar_p(moving)
    return student_tails(float(differences.sum()) / error, degrees) if error else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for being several (Holm 1979): rejecting those below α errs at all with probability α at most.

    The i-th smallest of m becomes max over j ≤ i of min(1, (m − j + 1) p_j); in the order given.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _mid_p_of_binomial(positive: int, count: int) -> float:
    """Two-sided mid-p of `positive` heads in `count` throws of a fair coin."""
    fewer = min(positive, count - positive)
    if 2 * fewer == count:
        return 1.0
    logs = [_log_choose(count, k) - count * math.log(2) for k in range(fewer + 1)]
    return min(1.0, 2 * (math.fsum(map(math.exp, logs)) - 0.5 * math.exp(logs[-1])))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
