"""The second stage: every chosen row beside its English version.

English rows are their own English; rows that brought English with them keep it; only the others see the translator,
which is not even loaded when there are none.
"""

import logging
from collections.abc import Callable
from functools import partial

import polars as pl

from cc_tuning.errors import TranslationFailed
from cc_tuning.runtime.step import Build
from cc_tuning.selection.checks import INVISIBLE
from cc_tuning.text.languages import ENGLISH_FLORES_CODE, find_language
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.into_english import EMPTY, LACKS_LANGUAGE, NO_TOKEN, SAID_NOTHING, IntoEnglish
from data_contracts.layout import PAIRS, SELECTED_ROWS
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import check_quarantine_limit, quarantine_rows, write_quarantine
from data_contracts.schemas import AyaRow, ParallelPair

logger = logging.getLogger(__name__)


def build_translation(build: Build[TranslationConfig]) -> RowCounts:
    """Write the pairs, sorted by id, and the rows that stay without English.

    Raises:
        TranslationFailed: the translator cannot be loaded, or rows were lost on the way.
        ContractViolation: more rows stay without English than the limit allows.
    """
    rows = _with_origin(read_parquet(build.inputs["rows"].path / SELECTED_ROWS, AyaRow))
    ready = rows.filter(pl.col("origin") != "translated").with_columns(
        # An English row is its own English, also where the source brought another wording.
        pl.when(pl.col("origin") == "english").then(pl.col(name)).otherwise(pl.col(f"{name}_en")).alias(f"{name}_en")
        for name in ("inputs", "targets")
    )
    limit = partial(check_quarantine_limit, "translate", rows.height, limit=build.execution.quarantine_limit)
    translated, quarantined = _translate(build, rows.filter(pl.col("origin") == "translated"), limit)
    counts = write_quarantine(build.folder, quarantined)
    limit(counts)
    pairs = pl.concat([_unjudged(ready), translated]).rename({"row_id": "pair_id"}).sort("pair_id")
    _check_union(rows, pairs, sum(counts.values()))
    write_parquet(pairs.select(ParallelPair.column_names()), build.folder / PAIRS, ParallelPair)
    origins = ", ".join(f"{origin} {number}" for origin, number in sorted(pairs["origin"].value_counts().iter_rows()))
    logger.info("translate: %s", origins)
    return RowCounts(read=rows.height, kept=pairs.height, quarantined=counts)


def _translate(
    build: Build[TranslationConfig],
    waiting: pl.DataFrame,
    check_limit: Callable[[dict[str, int]], None],
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The waiting rows that got their English, and those to quarantine."""
    if waiting.is_empty():
        return _unjudged(waiting), []
    into_english = IntoEnglish(build.inputs["translator"], build.config)
    is_known = pl.col("flores_code").is_in(into_english.known(waiting["flores_code"]))
    lacking = quarantine_rows(waiting.filter(~is_known), "row_id", LACKS_LANGUAGE, NO_TOKEN)
    # Said before hours of translation, not after.
    check_limit({LACKS_LANGUAGE: lacking.height})
    translations = into_english.translated(waiting.filter(is_known), build)
    joined = waiting.drop("inputs_en", "targets_en").join(translations, on="row_id", how="inner", validate="1:1")
    english = pl.col("inputs_en", "targets_en")
    is_empty = (pl.col("empty_segments") > 0) | pl.any_horizontal(english.str.contains(INVISIBLE))
    empty = quarantine_rows(joined.filter(is_empty), "row_id", EMPTY, SAID_NOTHING)
    return joined.filter(~is_empty).select(*waiting.columns, "quality", "flags"), [lacking, empty]


def _unjudged(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose English no translator wrote: full quality and no flags."""
    return rows.with_columns(quality=pl.lit(1.0), flags=pl.lit([], dtype=pl.List(pl.String)))


def _with_origin(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with `flores_code` and where each one's English comes from."""
    columns = rows.select("language_code", "language", "inputs").iter_rows()
    codes = [find_language(code, name, text).flores_code for code, name, text in columns]
    return rows.with_columns(pl.Series("flores_code", codes, pl.String)).with_columns(
        pl.when(pl.col("flores_code") == ENGLISH_FLORES_CODE).then(pl.lit("english"))
        .when(pl.col("inputs_en").is_not_null()).then(pl.lit("given"))
        .otherwise(pl.lit("translated"))
        .alias("origin")
    )  # fmt: skip


def _check_union(rows: pl.DataFrame, pairs: pl.DataFrame, quarantined: int) -> None:
    ids = set(pairs["pair_id"])
    if len(ids) != pairs.height or not ids <= set(rows["row_id"]) or pairs.height + quarantined != rows.height:
        raise TranslationFailed(
            f"rows were lost or doubled: {rows.height} came in, {pairs.height} pairs ({len(ids)} ids) and "
            f"{quarantined} quarantined rows go out; delete the stage's partial folder and run it again"
        )
