"""Whose English prompt stands in for an item's own in the control `other`: one drawn for each item, by its id alone.

Among the items of one benchmark and language in a seeded order, items that share something (their English text, or
their cluster: a premise, a passage) standing together, each takes the English prompt of the item m places behind it,
where m is the size of the largest such group. That one is of another group, and no prompt is taken twice, as long as
no group holds more than half of the items; otherwise the next item of another group is taken. A benchmark that is
parallel has the same ids and the same English in every language, and with them the same draws.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import polars as pl

_GROUP = ("benchmark", "language")


def other_items(items: pl.DataFrame, seed: int) -> pl.Series:
    """For each BenchmarkItem row the id of the item whose English prompt it is given; null where there is none.

    An item without an English prompt neither gets nor gives one.
    """
    numbered = items.with_row_index("row").filter(pl.col("prompt_en").is_not_null())
    chosen: list[str | None] = [None] * items.height
    for group in numbered.partition_by(*_GROUP):
        ids = group["item_id"].to_list()
        others = draw_others(ids, group["prompt_en"].to_list(), group["cluster"].to_list(), seed)
        for row, other in zip(group["row"].to_list(), others, strict=True):
            chosen[row] = None if other is None else ids[other]
    return pl.Series("other", chosen, dtype=pl.String)


def draw_others(
    ids: Sequence[str], texts: Sequence[str], clusters: Sequence[str | None], seed: int
) -> list[int | None]:
    """For each item the place of another one with another text, and with another cluster where it has one."""
    groups = [cluster or text for cluster, text in zip(clusters, texts, strict=True)]
    hashes = [_hash(item_id, seed) for item_id in ids]
    first = {group: value for value, group in sorted(zip(hashes, groups, strict=True), reverse=True)}
    order = sorted(range(len(ids)), key=lambda place: (first[groups[place]], groups[place], hashes[place], ids[place]))
    largest = max(Counter(groups).values(), default=0)
    others: list[int | None] = [None] * len(ids)
    for at, place in enumerate(order):
        behind = (order[(at + largest + step) % len(order)] for step in range(len(order)))
        others[place] = next(
            (other for other in behind if texts[other] != texts[place] and groups[other] != groups[place]), None
        )
    return others


def _hash(item_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{item_id}".encode()).digest()
