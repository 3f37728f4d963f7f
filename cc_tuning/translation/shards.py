"""The rows to translate as shards: a range of one language's rows, a file each, and a marker when it is whole.

A killed run keeps every shard whose marker is there and loses at most the one in flight. Names tell the language and
the rows, so neither another order nor another number of workers can take one shard for another. Beside each shard lie
the segments that it decoded (`translation/memory.py`); a shard is finished when both files are whole.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import dataframely as dy
import polars as pl

from cc_tuning.errors import TranslationFailed
from cc_tuning.languages import ENGLISH, Language, by_flores_code
from cc_tuning.progress import Progress
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.decoding import CheckedDecoder, CheckedSegment, Tally, Translator
from cc_tuning.translation.memory import keep_segments, recall_segments
from cc_tuning.translation.texts import flags_in, quality_of, translate_texts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.shards import Shards

logger = logging.getLogger(__name__)


class TranslatedRow(dy.Schema):
    """What the translator made of one row."""

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    inputs_en = dy.String(nullable=False)
    targets_en = dy.String(nullable=False)
    segments = dy.Int64(nullable=False, min=0)
    empty_segments = dy.Int64(nullable=False, min=0)
    quality = dy.Float64(nullable=False, min=0.0, max=1.0)
    flags = dy.List(dy.String(nullable=False), nullable=False)


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
        """The file below the shards' folder."""
        return f"{self.language.flores_code}/{self.first:08d}-{self.last:08d}.parquet"

    @property
    def segments_name(self) -> str:
        """The file of the segments that were first decoded for it."""
        return self.name.replace(".parquet", ".segments.parquet")


def plan_shards(rows: pl.DataFrame, shard_rows: int) -> Iterator[Shard]:
    """The shards of `rows` (columns row_id, flores_code, inputs, targets), language by language."""
    for flores_code in sorted(rows["flores_code"].unique()):
        of_language = rows.filter(pl.col("flores_code") == flores_code).sort("row_id")
        for first in range(0, of_language.height, shard_rows):
            part = of_language.slice(first, shard_rows).select("row_id", "inputs", "targets")
            yield Shard(by_flores_code(flores_code), first, first + part.height - 1, part)


def translate_shards(
    planned: list[Shard], translator: Translator, config: TranslationConfig, folder: Path, progress: Progress
) -> pl.DataFrame:
    """The translations (TranslatedRow) of every planned shard: those that a killed run had finished, and the rest now.

    Raises:
        TranslationFailed: the shards together do not hold each row exactly once.
    """
    shards = Shards(folder)
    _remove_strays(folder, {name for shard in planned for name in (shard.name, shard.segments_name)})
    finished = {shard.name for shard in planned if _is_done(shards, shard)}
    done, total = sum(shard.rows.height for shard in planned if shard.name in finished), _rows(planned)
    if finished:
        logger.info("translate: %d of %d shards were finished before", len(finished), len(planned))
    progress(done, total, "rows")
    decoder = CheckedDecoder(translator, config.retry)
    started = time.monotonic()
    for _, of_language in groupby(planned, key=lambda shard: shard.language):
        # The memory reaches back in the plan, never forward: what a shard may know does not depend on when it is made.
        memory: dict[str, CheckedSegment] = {}
        for shard in of_language:
            if shard.name in finished:
                memory |= recall_segments(shards, shard.segments_name)
                continue
            memory |= _make(shard, decoder, config.max_segment_tokens, memory, shards)
            done += shard.rows.height
            progress(done, total, "rows")
    _log(decoder.tally, time.monotonic() - started)
    return _joined(planned, shards)


def _make(
    shard: Shard, decoder: CheckedDecoder, max_segment_tokens: int, memory: dict[str, CheckedSegment], shards: Shards
) -> dict[str, CheckedSegment]:
    """Translate and write one shard; the segments that `memory` did not have."""
    prompts, responses = shard.rows["inputs"].to_list(), shard.rows["targets"].to_list()
    english, decoded = translate_texts(
        [*prompts, *responses], shard.language, ENGLISH, decoder, max_segment_tokens, memory
    )
    english_prompts, english_responses = english[: len(prompts)], english[len(prompts) :]
    both = [
        prompt.segments + response.segments for prompt, response in zip(english_prompts, english_responses, strict=True)
    ]
    translated = pl.DataFrame(
        {
            "pair_id": shard.rows["row_id"],
            "inputs_en": [prompt.text for prompt in english_prompts],
            "targets_en": [response.text for response in english_responses],
            "segments": [len(segments) for segments in both],
            "empty_segments": [sum("empty" in segment.flags for segment in segments) for segments in both],
            "quality": [quality_of(segments) for segments in both],
            "flags": pl.Series([flags_in(segments) for segments in both], dtype=pl.List(pl.String)),
        }
    )
    keep_segments(decoded, shards, shard.segments_name)
    write_parquet(translated, shards.path(shard.name), TranslatedRow)
    shards.mark_done(shard.name, rows=translated.height, segments=int(translated["segments"].sum()))
    return decoded


def _log(tally: Tally, seconds: float) -> None:
    if not tally.segments:
        return
    flags = ", ".join(f"{flag} {number:,}" for flag, number in sorted(tally.flags.items()))
    logger.info(
        "translate: %s segments decoded, %s source tokens/s; decoded again %s, improved %s; flagged: %s",
        f"{tally.segments:,}", f"{tally.tokens / max(seconds, 1e-9):,.0f}", f"{tally.decoded_again:,}",
        f"{tally.improved:,}", flags or "none",
    )  # fmt: skip


def _joined(planned: list[Shard], shards: Shards) -> pl.DataFrame:
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


def _is_done(shards: Shards, shard: Shard) -> bool:
    rows_are_whole = shards.is_done(shard.name)
    if rows_are_whole and not shards.is_done(shard.segments_name):
        logger.warning(
            "translate: %s is missing or damaged; its %d rows are translated again",
            shards.path(shard.segments_name), shard.rows.height,
        )  # fmt: skip
        return False
    return rows_are_whole


def _remove_strays(folder: Path, names: set[str]) -> None:
    """Delete shards of another plan (an earlier run with other `translation_shard_rows`), which nothing would read."""
    for path in sorted(folder.glob("*/*")):
        shard, suffix, _ = path.relative_to(folder).as_posix().partition(".parquet")
        if shard + suffix not in names:
            path.unlink()


def _rows(planned: list[Shard]) -> int:
    return sum(shard.rows.height for shard in planned)
