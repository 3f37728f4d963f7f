"""Several seeds of one training: how far they lie apart, and what that adds to what other items would change.

Items and seeds are two samples that cross: every seed answers every item. The variance of the mean over both is at most
the sum of the variance over items of the scores averaged over seeds, and of the variance over seeds of the scores
averaged over items; the sum counts their interaction twice, so it is on the safe side (Cameron, Gelbach and Miller
2011, who subtract it; Bouthillier et al. 2021 on why seeds belong into a comparison). As seeds are few, each of the two
keeps its own quantile of Student's t, and the margins are added as squares (Zou and Donner 2008):

margin² = (t_{G−1} e_items)² + (t_{S−1} s / √S)²
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance

from cc_tuning.evaluation.statistics.distributions import student_quantile

_HALVINGS = 40
_LEAST_P = 1e-12


@dataclass(frozen=True)
class Spread:
    """The standard error of a mean, over items or over seeds, with its degrees of freedom."""

    error: float
    degrees: int

    def margin(self, confidence: float) -> float:
        """Half the width of its interval."""
        return student_quantile(confidence, self.degrees) * self.error if self.error else 0.0


def seed_spreads(ours: Sequence[float], theirs: Sequence[float]) -> tuple[Spread, ...]:
    """What other seeds of either side would change in a difference of two means over seeds.

    A side with one seed adds nothing: how far its seeds would lie apart is not known.
    """
    return tuple(
        Spread(math.sqrt(variance(side) / len(side)), len(side) - 1) for side in (ours, theirs) if len(side) > 1
    )


def joint_margin(spreads: Sequence[Spread], confidence: float) -> float:
    """Half the width of the interval that counts all of them: the root of the sum of their squared margins."""
    return math.hypot(*(spread.margin(confidence) for spread in spreads))


def joint_p(value: float, spreads: Sequence[Spread]) -> float:
    """The p value of a mean with these spreads: one minus the confidence at which `joint_margin` reaches it.

    Never below 10⁻¹², where the quantiles end.
    """
    if not any(spread.error for spread in spreads):
        return _LEAST_P if value else 1.0
    low, high = math.log(_LEAST_P), 0.0  # of the logarithm of p
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_reached = joint_margin(spreads, -math.expm1(middle)) <= abs(value)
        low, high = (low, middle) if is_reached else (middle, high)
    return math.exp(high) if value else 1.0
