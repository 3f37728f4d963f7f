"""The second stage: every chosen row beside its English version.

English rows are their own English; rows that brought English with them keep it; only the others see the translator,
which is not even loaded when there are none.

With a target the way is the other one (Lee et al. 2025): prompt and response of an English row are translated into one
language, and the pair is of that language, its English the row itself.
"""

import logging
from collections.abc import Callable
from functools import partial

import polars as pl

from cc_tuning.errors import TranslationFailed
from cc_tuning.runtime.step import Build
from cc_tuning.selection.checks import INVISIBLE
from cc_tuning.text.languages import ENGLISH, ENGLISH_FLORES_CODE, Language, find_language
from cc_tuning.translation.config import TargetTranslationConfig, TranslationConfig
from cc_tuning.translation.row_translator import EMPTY, LACKS_LANGUAGE, NO_TOKEN, SAID_NOTHING, RowTranslator
from data_contracts.layout import PAIRS, SELECTED_ROWS
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import check_quarantine_limit, quarantine_rows, write_quarantine
from data_contracts.schemas import AyaRow, ParallelPair

logger = logging.getLogger(__name__)


_NOT_ENGLISH = "the translation is from English, and the row is not"


def build_translation(build: Build[TranslationConfig]) -> RowCounts:
    """Write the pairs, sorted by id, and the rows that stay without English.

    Raises:
        TranslationFailed: the translator cannot be loaded, or rows were lost on the way.
        ConfigError: the translator lacks the target language.
        ContractViolation: more rows stay without English than the limit allows.
    """
    rows = _with_origin(read_parquet(build.inputs["rows"].path / SELECTED_ROWS, AyaRow))
    if isinstance(build.config, TargetTranslationConfig):
        return _translate_from_english(build, find_language(build.config.target), rows)
    ready = rows.filter(pl.col("origin") != "translated").with_columns(
        # An English row is its own English, also where the source brought another wording.
        pl.when(pl.col("origin") == "english").then(pl.col(name)).otherwise(pl.col(f"{name}_en")).alias(f"{name}_en")
        for name in ("inputs", "targets")
    )
    limit = partial(check_quarantine_limit, "translate", rows.height, limit=build.execution.quarantine_limit)
    translated, quarantined = _translate(build, rows.filter(pl.col("origin") == "translated"), limit)
    counts = write_quarantine(build.folder, quarantined)
    limit(counts)
    pairs = _write_pairs(build, rows, pl.concat([_unjudged(ready), translated]), sum(counts.values()))
    origins = ", ".join(f"{origin} {number}" for origin, number in sorted(pairs["origin"].value_counts().iter_rows()))
    logger.info("translate: %s", origins)
    return RowCounts(read=rows.height, kept=pairs.height, quarantined=counts)


def _translate_from_english(build: Build[TranslationConfig], target: Language, rows: pl.DataFrame) -> RowCounts:
    """As `build_translation`, of English rows into `target`."""
    is_english = pl.col("origin") == "english"
    others = quarantine_rows(rows.filter(~is_english), "row_id", "not_english", _NOT_ENGLISH)
    limit = partial(check_quarantine_limit, "translate", rows.height, limit=build.execution.quarantine_limit)
    limit({"not_english": others.height})
    translator = RowTranslator(build.inputs["translator"], build.config)
    translator.check_writes(target)
    translated, empty = _decoded(build, translator, rows.filter(is_english), target)
    counts = write_quarantine(build.folder, [others, empty])
    limit(counts)
    made = translated.drop("language", "language_code", "flores_code", "origin").rename(
        {"inputs": "inputs_en", "targets": "targets_en", "inputs_en": "inputs", "targets_en": "targets"}
    )
    pairs = made.with_columns(
        language=pl.lit(target.name),
        language_code=pl.lit(target.aya_code),
        flores_code=pl.lit(target.flores_code),
        origin=pl.lit("translated"),
    )
    pairs = _write_pairs(build, rows, pairs, sum(counts.values()))
    logger.info("translate: %d English rows into %s", pairs.height, target.name)
    return RowCounts(read=rows.height, kept=pairs.height, quarantined=counts)


def _write_pairs(
    build: Build[TranslationConfig], rows: pl.DataFrame, made: pl.DataFrame, quarantined: int
) -> pl.DataFrame:
    pairs = made.rename({"row_id": "pair_id"}).sort("pair_id")
    _check_union(rows, pairs, quarantined)
    write_parquet(pairs.select(ParallelPair.column_names()), build.folder / PAIRS, ParallelPair)
    return pairs


def _translate(
    build: Build[TranslationConfig],
    waiting: pl.DataFrame,
    check_limit: Callable[[dict[str, int]], None],
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The waiting rows that got their English, and those to quarantine."""
    if waiting.is_empty():
        return _unjudged(waiting), []
    translator = RowTranslator(build.inputs["translator"], build.config)
    is_known = pl.col("flores_code").is_in(translator.known(waiting["flores_code"]))
    lacking = quarantine_rows(waiting.filter(~is_known), "row_id", LACKS_LANGUAGE, NO_TOKEN)
    # Said before hours of translation, not after.
    check_limit({LACKS_LANGUAGE: lacking.height})
    translated, empty = _decoded(build, translator, waiting.filter(is_known), ENGLISH)
    return translated, [lacking, empty]


def _decoded(
    build: Build[TranslationConfig], translator: RowTranslator, waiting: pl.DataFrame, target: Language
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with their translations in `inputs_en` and `targets_en`, judged; and the empty ones to quarantine."""
    translations = translator.translated(waiting, build, target)
    joined = waiting.drop("inputs_en", "targets_en").join(translations, on="row_id", how="inner", validate="1:1")
    english = pl.col("inputs_en", "targets_en")
    is_empty = (pl.col("empty_segments") > 0) | pl.any_horizontal(english.str.contains(INVISIBLE))
    empty = quarantine_rows(joined.filter(is_empty), "row_id", EMPTY, SAID_NOTHING)
    return joined.filter(~is_empty).select(*waiting.columns, "quality", "flags"), empty


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
