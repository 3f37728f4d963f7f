"""Several seeds of one training: how far they lie apart, and what that adds to what other items would change.

Items and seeds are two samples that cross: every seed answers every item. The variance of the mean over both is at
most the sum of the variance over items of the scores averaged over seeds, and of the variance over seeds of the scores
averaged over items; the sum counts their interaction twice, so it is on the safe side (Cameron, Gelbach and Miller
2011, who subtract it; Bouthillier et al. 2021 on why seeds belong into a comparison).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The standard error of a mean over seeds with its degrees of freedom."""

    error: float
    degrees: float

    def added_to(self, error: float, degrees: float) -> tuple[float, int]:
        """An error with this one beside it, √(e² + s²), and its degrees of freedom, rounded down.

        ν = (e² + s²)² / (e⁴/ν_e + s⁴/ν_s)   (Satterthwaite 1946)
        """
        together = error**2 + self.error**2
        if not together:
            return 0.0, max(1, int(degrees))
        freedom = together**2 / (error**4 / degrees + self.error**4 / self.degrees)
        return float(np.sqrt(together)), max(1, int(freedom + 1e-9))


def paired_spread(differences: Sequence[float]) -> Spread | None:
    """The spread of a difference that was taken seed by seed; None for one seed."""
    count = len(differences)
    return Spread(float(np.sqrt(variance(differences) / count)), count - 1) if count > 1 else None


def spread_of_two(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """The spread of a difference of two means over other seeds each (Welch 1947).

    A side with one seed adds nothing: how far its seeds would lie apart is not known. None where both are such.
    """
    sides = [side for side in map(paired_spread, (ours, theirs)) if side]
    if len(sides) < 2:
        return sides[0] if sides else None
    error, degrees = sides[0].added_to(sides[1].error, sides[1].degrees)
    return Spread(error, degrees)
