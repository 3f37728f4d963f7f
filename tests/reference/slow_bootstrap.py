"""The bootstrap as it is taught: loops over resamples, units and their items."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

Unit = Sequence[tuple[str, float]]
"""Language and value of each item of a unit."""


def slow_interval(units: Mapping[str, Unit], samples: int, tail: float, seed: int) -> tuple[float, float, float]:
    """The average over languages of the mean over items, and the values that leave a share `tail` of resamples outside.

    Means of a resample are divided by the number of items that it has in a language.
    """
    draw = random.Random(seed)
    names = sorted(units)
    replicates = sorted(
        slow_average(item for name in draw.choices(names, k=len(names)) for item in units[name]) for _ in range(samples)
    )
    average = slow_average(item for name in names for item in units[name])
    return average, _quantile(replicates, tail), _quantile(replicates, 1 - tail)


def slow_average(items: Iterable[tuple[str, float]]) -> float:
    """The mean over languages of the mean over items."""
    by_language: dict[str, list[float]] = defaultdict(list)
    for language, value in items:
        by_language[language].append(value)
    return sum(sum(values) / len(values) for values in by_language.values()) / len(by_language)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
