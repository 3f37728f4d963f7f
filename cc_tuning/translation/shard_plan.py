"""The rows to translate as shards: a range of one language's rows, with two files, each with a marker when it is whole.

    <language>/<rows>.segments.parquet    the segments it is the first to need, decoded (translation/memory.py)
    <language>/<rows>.parquet             its rows, put together from segments (translation/joining.py)

A killed run keeps every file whose marker is there; each of its workers loses at most the shard in flight. Names tell
the language and the rows, so neither another order nor another number of workers can take one shard for another.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cc_tuning.text.languages import Language, by_flores_code
from data_contracts.shards import Shards

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Rows `first` to `last` (both included) of one language's rows, sorted by id."""

    language: Language
    first: int
    last: int
    rows: pl.DataFrame
    """Columns row_id, inputs, targets."""

    @property
    def name(self) -> str:
        """The file of its rows below the shards' folder."""
        return f"{self.language.flores_code}/{self.first:08d}-{self.last:08d}.parquet"

    @property
    def segments_name(self) -> str:
        """The file of its segments below the shards' folder."""
        return self.name.replace(".parquet", ".segments.parquet")

    @property
    def texts(self) -> list[str]:
        """Its prompts, then its responses."""
        return [*self.rows["inputs"], *self.rows["targets"]]


def plan_shards(rows: pl.DataFrame, shard_rows: int) -> Iterator[Shard]:
    """The shards of `rows` (columns row_id, flores_code, inputs, targets), language by language."""
    for flores_code in sorted(rows["flores_code"].unique()):
        of_language = rows.filter(pl.col("flores_code") == flores_code).sort("row_id")
        for first in range(0, of_language.height, shard_rows):
            part = of_language.slice(first, shard_rows).select("row_id", "inputs", "targets")
            yield Shard(by_flores_code(flores_code), first, first + part.height - 1, part)


def is_whole(shards: Shards, name: str) -> bool:
    """Whether a shard's file can be used; of a damaged one the log tells that it is made again."""
    whole = shards.is_done(name)
    if not whole and shards.is_marked(name):
        logger.warning("translate: %s is missing or damaged; it is made again", shards.path(name))
    return whole


def remove_strays(folder: Path, planned: list[Shard]) -> None:
    """Delete files of another plan (an earlier run with other `translation_shard_rows`), which nothing would read."""
    names = {name for shard in planned for name in (shard.name, shard.segments_name)}
    for path in sorted(folder.glob("*/*")):
        shard, suffix, _ = path.relative_to(folder).as_posix().partition(".parquet")
        if shard + suffix not in names:
            path.unlink()
