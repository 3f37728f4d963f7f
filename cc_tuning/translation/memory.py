"""The translation memory of an artifact: a segment that stands in many rows is decoded once.

Templates repeat the same instruction in thousands of rows. Each shard has a table of the segments that it is the first
to need (`translation/planning.py`); its rows are put together from its own table and those of the shards of its
language that come before it, whichever run or worker made them. A table that is missing or damaged costs its shard,
nothing else.

The memory does not reach beyond the artifact, to other recipes. A segment's English depends, in the last bits of its
scores, on the batch it was decoded in (padding and the number of rows choose other kernels), and a close call between
two beams may then fall the other way: certainly in half precision, possibly in float32. A memory shared by recipes
would decide which segments are left to decode, hence the batches, hence possibly an artifact's bytes, by what happened
to run before; and one fingerprint promises one result. Here the plan alone decides.
"""

from collections.abc import Mapping

import dataframely as dy
import polars as pl

from cc_tuning.translation.decoding import CheckedSegment
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.shards import Shards


class DecodedSegment(dy.Schema):
    """A segment, its English, and its flags; the language is that of the folder the file is in."""

    source = dy.String(primary_key=True, nullable=False, min_length=1)
    english = dy.String(nullable=False)
    flags = dy.List(dy.String(nullable=False), nullable=False)


def keep_segments(decoded: Mapping[str, CheckedSegment], shards: Shards, name: str) -> None:
    """Write what one shard decoded, and its marker."""
    rows = [(source, decoded[source].translation, list(decoded[source].flags)) for source in sorted(decoded)]
    frame = pl.DataFrame(rows, schema=DecodedSegment.create_empty().schema, orient="row")
    write_parquet(frame, shards.path(name), DecodedSegment)
    shards.mark_done(name, segments=len(rows))


def recall_segments(shards: Shards, name: str) -> dict[str, CheckedSegment]:
    """What a finished shard had decoded, by source."""
    rows = read_parquet(shards.path(name), DecodedSegment).iter_rows()
    return {source: CheckedSegment(source, english, tuple(flags)) for source, english, flags in rows}


def sources_of(shards: Shards, name: str) -> list[str]:
    """The segments that a finished shard had decoded, sorted."""
    sources: list[str] = read_parquet(shards.path(name), DecodedSegment)["source"].to_list()
    return sources
