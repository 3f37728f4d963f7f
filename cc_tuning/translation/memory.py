"""The translation memory of an artifact, and the rows put together from it: a segment of many rows is decoded once.

Templates repeat the same instruction in thousands of rows. Each shard has a table of the segments that it is the first
to need (`translation/translating.py`); its rows are put together from its own table and those of the shards of its
language that come before it, whichever run or worker made them. A table that is missing or damaged costs its shard,
nothing else.

The memory does not reach beyond the artifact, to other recipes. A segment's English depends, in the last bits of its
scores, on the batch it was decoded in (padding and the number of rows choose other kernels), and a close call between
two beams may then fall the other way: certainly in half precision, possibly in float32. A memory shared by recipes
would decide which segments are left to decode, hence the batches, hence possibly an artifact's bytes, by what happened
to run before; and one fingerprint promises one result. Here the plan alone decides.
"""

from collections.abc import Collection, Mapping
from itertools import groupby

import dataframely as dy
import polars as pl

from cc_tuning.errors import TranslationFailed
from cc_tuning.translation.decoding import (
    CheckedSegment,
    Vocabulary,
    cut_texts,
    flags_in,
    put_together,
    quality_of,
)
from cc_tuning.translation.segmentation import Segmenter
from cc_tuning.translation.shard_plan import Shard, is_whole
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.shards import Shards


class DecodedSegment(dy.Schema):
    """A segment, its English (or its version in the target of `TargetTranslationConfig`), and its flags; the language
    is that of the folder the file is in."""

    source = dy.String(primary_key=True, nullable=False, min_length=1)
    english = dy.String(nullable=False)
    flags = dy.List(dy.String(nullable=False), nullable=False)


class TranslatedRow(dy.Schema):
    """One row in English, or in the target of `TargetTranslationConfig`, as the translator made it."""

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    inputs_en = dy.String(nullable=False)
    targets_en = dy.String(nullable=False)
    segments = dy.Int64(nullable=False, min=0)
    empty_segments = dy.Int64(nullable=False, min=0)
    quality = dy.Float64(nullable=False, min=0.0, max=1.0)
    flags = dy.List(dy.String(nullable=False), nullable=False)


def keep_segments(decoded: Mapping[str, CheckedSegment], shards: Shards, name: str) -> None:
    """Write what one shard decoded, and its marker."""
    rows = [(source, decoded[source].translation, list(decoded[source].flags)) for source in sorted(decoded)]
    frame = pl.DataFrame(rows, schema=DecodedSegment.create_empty().schema, orient="row")
    write_parquet(frame, shards.path(name), DecodedSegment)
    shards.mark_done(name, segments=len(rows))


def recall_segments(shards: Shards, name: str) -> dict[str, CheckedSegment]:
    """The segments that a finished shard had decoded, by source."""
    rows = read_parquet(shards.path(name), DecodedSegment).iter_rows()
    return {source: CheckedSegment(source, english, tuple(flags)) for source, english, flags in rows}


def sources_of(shards: Shards, name: str) -> list[str]:
    """The segments that a finished shard had decoded, sorted."""
    sources: list[str] = read_parquet(shards.path(name), DecodedSegment)["source"].to_list()
    return sources


def join_shards(
    planned: list[Shard], decoded_now: Collection[str], vocabulary: Vocabulary, max_segment_tokens: int, shards: Shards
) -> pl.DataFrame:
    """The translations (TranslatedRow) of every planned shard, all segments of which are decoded.

    `decoded_now` names the shards that this run decoded: rows that an earlier run put together from other tables of
    them are made again.

    Raises:
        TranslationFailed: the shards together do not hold each row exactly once.
    """
    for language, of_language in groupby(planned, key=lambda shard: shard.language):
        segmenter = Segmenter(language, max_segment_tokens, vocabulary.count_tokens)
        memory: dict[str, CheckedSegment] = {}
        is_outdated = False
        for shard in of_language:
            memory |= recall_segments(shards, shard.segments_name)
            is_outdated = is_outdated or shard.segments_name in decoded_now
            if is_outdated or not is_whole(shards, shard.name):
                _join(shard, segmenter, memory, shards)
    return _union(planned, shards)


def _join(shard: Shard, segmenter: Segmenter, memory: dict[str, CheckedSegment], shards: Shards) -> None:
    english = put_together(cut_texts(shard.texts, segmenter), memory)
    prompts, responses = english[: shard.rows.height], english[shard.rows.height :]
    both = [prompt.segments + response.segments for prompt, response in zip(prompts, responses, strict=True)]
    translated = pl.DataFrame(
        {
            "pair_id": shard.rows["row_id"],
            "inputs_en": [prompt.text for prompt in prompts],
            "targets_en": [response.text for response in responses],
            "segments": [len(segments) for segments in both],
            "empty_segments": [sum("empty" in segment.flags for segment in segments) for segments in both],
            "quality": [quality_of(segments) for segments in both],
            "flags": pl.Series([flags_in(segments) for segments in both], dtype=pl.List(pl.String)),
        }
    )
    write_parquet(translated, shards.path(shard.name), TranslatedRow)
    shards.mark_done(shard.name, rows=translated.height, segments=int(translated["segments"].sum()))


def _union(planned: list[Shard], shards: Shards) -> pl.DataFrame:
    parts = [read_parquet(shards.path(shard.name), TranslatedRow) for shard in planned]
    translated = pl.concat([TranslatedRow.create_empty(), *parts])
    wanted = pl.concat([pl.Series("row_id", [], pl.String), *(shard.rows["row_id"] for shard in planned)])
    missing, unknown = set(wanted) - set(translated["pair_id"]), set(translated["pair_id"]) - set(wanted)
    if missing or unknown or translated["pair_id"].n_unique() != wanted.len():
        raise TranslationFailed(
            f"{shards.folder}: the shards hold {translated.height} rows, expected {wanted.len()}; missing "
            f"{sorted(missing)[:3]}, not asked for {sorted(unknown)[:3]}. Delete the folder and run the stage again"
        )
    return translated
