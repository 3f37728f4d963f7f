"""The values that tables of scores are made of: who was measured, by what, and how sure the figure is."""

from dataclasses import dataclass

_ROUNDING = 1e-9
"""Means of scores carry rounding of about 1e-14; what is smaller than this is no difference."""


@dataclass(frozen=True)
class Variant:
    """A family with one kind of connection: a row of the main table."""

    family: str
    connection: str


@dataclass(frozen=True)
class Measure:
    """A benchmark with one metric: a column of the main table."""

    benchmark: str
    metric: str


@dataclass(frozen=True)
class Estimate:
    """A score with its interval, 0 to 100; with several seeds, their mean."""

    value: float
    low: float
    high: float
    items: int
    by_seed: tuple[float, ...]
    """The value of each seed."""


@dataclass(frozen=True)
class Difference:
    """`minuend` minus `subtrahend` on the items that both answered, averaged over languages, in points."""

    minuend: Variant
    subtrahend: Variant
    value: float
    low: float
    high: float
    items: int
    by_seed: tuple[float, ...]
    """Of each seed; seed by seed where both have the same ones, otherwise each against the mean of the other side."""

    @property
    def seeds_that_agree(self) -> int:
        """How many seeds have a difference of the same sign as the mean."""
        return sum(sign(value) == sign(self.value) for value in self.by_seed)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; the settings of the evaluation stage."""

    samples: int
    confidence: float
    seed: int


def sign(points: float) -> int:
    """1, 0 or -1; 0 for what is rounding only."""
    return (points > _ROUNDING) - (points < -_ROUNDING)
