"""The rows to translate as shards: a range of one language's rows, a file each, and a marker when it is whole.

A killed run keeps every shard whose marker is there and loses at most the one in flight. Names tell the language and
the rows, so neither another order nor another number of workers can take one shard for another.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dataframely as dy
import polars as pl

from cc_tuning.errors import TranslationFailed
from cc_tuning.languages import Language, by_flores_code
from cc_tuning.progress import Progress
from cc_tuning.translation.texts import Translator, translate_texts
from data_contracts.errors import ArtifactMismatch
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


def plan_shards(rows: pl.DataFrame, shard_rows: int) -> Iterator[Shard]:
    """The shards of `rows` (columns row_id, flores_code, inputs, targets), language by language."""
    for flores_code in sorted(rows["flores_code"].unique()):
        of_language = rows.filter(pl.col("flores_code") == flores_code).sort("row_id")
        for first in range(0, of_language.height, shard_rows):
            part = of_language.slice(first, shard_rows).select("row_id", "inputs", "targets")
            yield Shard(by_flores_code(flores_code), first, first + part.height - 1, part)


def translate_shards(
    planned: list[Shard], translator: Translator, max_segment_tokens: int, folder: Path, progress: Progress
) -> pl.DataFrame:
    """The translations (TranslatedRow) of every planned shard: those that a killed run had finished, and the rest now.

    Raises:
        TranslationFailed: the shards together do not hold each row exactly once.
    """
    shards = Shards(folder)
    _remove_strays(folder, {shard.name for shard in planned})
    finished = {shard.name for shard in planned if _is_done(shards, shard)}
    done, total = sum(shard.rows.height for shard in planned if shard.name in finished), _rows(planned)
    if finished:
        logger.info("translate: %d of %d shards were finished before", len(finished), len(planned))
    progress(done, total, "rows")
    for shard in planned:
        if shard.name in finished:
            continue
        translated = _translate(shard, translator, max_segment_tokens)
        write_parquet(translated, shards.path(shard.name), TranslatedRow)
        shards.mark_done(shard.name, rows=translated.height, segments=int(translated["segments"].sum()))
        done += translated.height
        progress(done, total, "rows")
    return _joined(planned, shards)


def _translate(shard: Shard, translator: Translator, max_segment_tokens: int) -> pl.DataFrame:
    prompts, responses = shard.rows["inputs"].to_list(), shard.rows["targets"].to_list()
    english = translate_texts([*prompts, *responses], shard.language, translator, max_segment_tokens)
    english_prompts, english_responses = english[: len(prompts)], english[len(prompts) :]
    both = list(zip(english_prompts, english_responses, strict=True))
    return pl.DataFrame(
        {
            "pair_id": shard.rows["row_id"],
            "inputs_en": [prompt.text for prompt in english_prompts],
            "targets_en": [response.text for response in english_responses],
            "segments": [prompt.segments + response.segments for prompt, response in both],
            "empty_segments": [prompt.empty_segments + response.empty_segments for prompt, response in both],
        }
    )


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
    try:
        return shards.is_done(shard.name)
    except ArtifactMismatch:
        # A marker that cannot be read vouches for nothing; the shard is made again.
        return False


def _remove_strays(folder: Path, names: set[str]) -> None:
    """Delete shards of another plan (an earlier run with other `translation_shard_rows`), which nothing would read."""
    for path in sorted(folder.glob("*/*")):
        shard, suffix, _ = path.relative_to(folder).as_posix().partition(".parquet")
        if shard + suffix not in names:
            path.unlink()


def _rows(planned: list[Shard]) -> int:
    return sum(shard.rows.height for shard in planned)
