"""Which items the page shows: drawn by a hash, and so that items on which two methods differ are well represented.

Every other place is drawn without looking at answers. The places between them go in turn to the comparisons of the
report, once to an item that the method has right (or better) and its baseline has not, once the other way round. So
nobody picks the flattering ones, and shares among the shown items are not scores.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cc_tuning.report.answers import Answers
from cc_tuning.report.data_card.examples import draw_order

Floats = NDArray[np.float64]
Side = tuple[str, str]
"""A run and a connection."""


def draw_items(
    answers: Answers, comparisons: Sequence[tuple[Side, Side]], places: int, seed: int
) -> list[tuple[str, str, list[str]]]:
    """Benchmark, language and item ids of at most `places` items of each, in the order in which they were drawn."""
    return [
        (benchmark, language, _drawn(answers.of(benchmark, language), comparisons, places, seed))
        for benchmark, language in answers.cells
    ]


def _drawn(answers: pl.DataFrame, comparisons: Sequence[tuple[Side, Side]], places: int, seed: int) -> list[str]:
    language = answers["language"][0]
    ids = answers["item_id"].unique().to_list()
    in_order = sorted(ids, key=lambda item_id: draw_order(seed, language, item_id))
    gains = _gains(answers, in_order, comparisons)
    picks = _picks(gains)
    taken: dict[int, None] = {}
    plain = iter(range(len(in_order)))
    while len(taken) < min(places, len(in_order)):
        is_plain = len(taken) % 2 == 0
        at = None if is_plain else next((pick for pick in picks if pick not in taken), None)
        taken[next(place for place in plain if place not in taken) if at is None else at] = None
    return [in_order[place] for place in taken]


def _gains(answers: pl.DataFrame, ids: Sequence[str], comparisons: Sequence[tuple[Side, Side]]) -> list[Floats]:
    """For each comparison `[items]`: the score of the one minus that of the other; not a number without both."""
    by_side = {
        (str(run), str(connection)): dict(frame.select("item_id", "score").iter_rows())
        for (run, connection), frame in answers.partition_by("run", "connection", as_dict=True).items()
    }
    gains = []
    for ours, theirs in comparisons:
        a, b = by_side.get(ours, {}), by_side.get(theirs, {})
        values = [_minus(a.get(item_id), b.get(item_id)) for item_id in ids]
        gains.append(np.asarray(values, dtype=np.float64))
    return gains


def _minus(a: float | None, b: float | None) -> float:
    return float("nan") if a is None or b is None else a - b


def _picks(gains: Sequence[Floats]) -> Iterator[int]:
    """Places of items on which two sides differ, each comparison and each direction in turn."""
    queues = deque(iter(np.flatnonzero(sign * gain > 0).tolist()) for gain in gains for sign in (1, -1))
    while queues:
        queue = queues.popleft()
        if (pick := next(queue, None)) is not None:
            yield pick
            queues.append(queue)
