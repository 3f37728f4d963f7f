"""The bootstrap as it is taught: loops over resamples, strata, items and languages."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

ItemValues = Mapping[str, Mapping[str, float]]
"""item_id → language → value"""


def slow_interval(items: ItemValues, samples: int, confidence: float, seed: int) -> tuple[float, float, float]:
    """The average over languages of the mean over items, and the percentile interval of its resamples."""
    draw = random.Random(seed)
    strata: dict[frozenset[str], list[str]] = defaultdict(list)
    for item, values in items.items():
        strata[frozenset(values)].append(item)
    replicates = []
    for _ in range(samples):
        drawn = [item for group in strata.values() for item in draw.choices(group, k=len(group))]
        replicates.append(_average([items[item] for item in drawn]))
    replicates.sort()
    tail = (1 - confidence) / 2
    return _average(list(items.values())), _quantile(replicates, tail), _quantile(replicates, 1 - tail)


def _average(rows: Sequence[Mapping[str, float]]) -> float:
    by_language: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for language, value in row.items():
            by_language[language].append(value)
    return sum(sum(values) / len(values) for values in by_language.values()) / len(by_language)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
