"""Draws by hash: who comes first is decided by a seed and the ids themselves.

So a draw depends neither on the order in which rows are given nor on the rows around them, and more rows move only few
of those that were drawn before. Sources are long and hold their places as 64-bit integers; a few ids are sorted by the
whole hash. The two write the seed in different ways, so that equal ids stand in different orders.
"""

import hashlib
from collections.abc import Sequence

import polars as pl

_PLACE_BYTES = 8


def draw_places(row_ids: Sequence[str], seed: int) -> pl.Series:
    """The first 64 bits of the sha256 of seed and row id, as UInt64; the row with the lowest one is drawn first."""
    digests = (hashlib.sha256(f"{seed}:{row_id}".encode()).digest() for row_id in row_ids)
    return pl.Series([int.from_bytes(digest[:_PLACE_BYTES], "big") for digest in digests], dtype=pl.UInt64)


def draw_order(seed: int, *ids: str) -> str:
    """A key to sort by, the sha256 of seed and ids in 64 hex digits; what has the lowest key is drawn first."""
    return hashlib.sha256("\n".join((str(seed), *ids)).encode()).hexdigest()
