"""Work on rows in shards: a file for each range of rows, and a marker when it is whole.

A killed run keeps every shard whose marker is there and loses at most the one in flight. What is in a shard depends on
its rows alone, and a shard's name on their places, so neither order nor kills change a byte.
"""

from collections.abc import Callable

import dataframely as dy
import polars as pl

from data_contracts.errors import ArtifactMismatch
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.shards import Shards


def made_in_shards(
    rows: pl.DataFrame,
    shard_rows: int,
    shards: Shards,
    contract: type[dy.Schema],
    make: Callable[[pl.DataFrame], pl.DataFrame],
    count: Callable[[int], None],
) -> pl.DataFrame:
    """What `make` makes of `rows` (sorted by `pair_id`), shard by shard; finished shards are read and not made.

    `count` is told the number of rows of each shard when it is there.

    Raises:
        ArtifactMismatch: a finished shard is not about the rows asked for.
    """
    made: list[pl.DataFrame] = [contract.create_empty()]
    _remove_strays(shards, rows.height, shard_rows)
    for first in range(0, rows.height, shard_rows):
        part = rows.slice(first, shard_rows)
        name = _name(first, part.height)
        if not shards.is_done(name):
            write_parquet(make(part), shards.path(name), contract)
            shards.mark_done(name, rows=part.height)
        found = read_parquet(shards.path(name), contract)
        if found["pair_id"].to_list() != part["pair_id"].to_list():
            raise ArtifactMismatch(
                f"{shards.path(name)} holds {found.height} rows, expected the {part.height} from "
                f"{part['pair_id'][0]} on; delete {shards.folder} and run the stage again"
            )
        made.append(found)
        count(part.height)
    return pl.concat(made)


def _name(first: int, rows: int) -> str:
    return f"{first:08d}-{first + rows - 1:08d}.parquet"


def _remove_strays(shards: Shards, rows: int, shard_rows: int) -> None:
    """Delete shards of another size, left by a killed run with other settings, which nothing would read."""
    names = {_name(first, min(shard_rows, rows - first)) for first in range(0, rows, shard_rows)}
    for path in sorted(shards.folder.glob("*")):
        name, suffix, _ = path.name.partition(".parquet")
        if name + suffix not in names:
            path.unlink()
