"""Stage `pivot`: the prompts of benchmark items in English, by the recipe's translator.

At inference nobody gives an English prompt. What a translator makes of the prompt can stand for it: read through the
connection as `parallel` reads the real one (the mode `pivot`), or before the prompt as text (`pivot_context`). English
items are not translated. A prompt without a translation is set aside here by rule and counted; evaluation asks it with
the connection off.

Files: `pivot_prompts.parquet` (PivotPrompt), `quarantine.parquet`. Finished shards of a killed run are kept.
"""

import logging

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.competitors import ENGLISH
from cc_tuning.evaluation.config import PivotConfig
from cc_tuning.evaluation.items import ITEM_KEY, flores_code_of, load_items, select_items
from cc_tuning.runtime.step import Build
from cc_tuning.selection.checks import INVISIBLE
from cc_tuning.translation.row_translator import EMPTY, LACKS_LANGUAGE, NO_TOKEN, SAID_NOTHING, RowTranslator
from data_contracts.layout import PIVOT_PROMPTS
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.quarantine import quarantine_rows, write_quarantine
from data_contracts.schemas import PivotPrompt

logger = logging.getLogger(__name__)

UNKNOWN_LANGUAGE = "unknown_language"
_NOT_IN_TABLE = "the item's language is not in cc_tuning/text/languages.csv"


def build_pivot(build: Build[PivotConfig]) -> RowCounts:
    """Write the English of the prompts that have one, and the items that stay without; English items are not selected.

    Raises:
        TranslationFailed: the translator cannot be loaded, or a worker failed.
        ConfigError: no item is to be evaluated, or none of the prompts can be translated.
    """
    config = build.config
    loaded = load_items(build.inputs["items"].path)
    items = select_items(loaded.items, config.benchmarks, config.languages, config.items_per_language)
    foreign = items.filter(pl.col("language") != ENGLISH)
    into_english = RowTranslator(build.inputs["translator"], config.translation)
    known, set_aside = _split_by_language(foreign, into_english)
    translated, empty = _translated(known, into_english, build)
    set_aside.append(empty)
    if foreign.height and translated.is_empty():
        raise ConfigError(
            f"none of {foreign.height} prompts has a translation into English: {_rules(set_aside)}; the modes `pivot` "
            "and `pivot_context` would be `off`. Use a translator that knows these languages (translation.model), or "
            "leave the modes out of evaluation.competitors"
        )
    write_parquet(translated, build.folder / PIVOT_PROMPTS, PivotPrompt)
    counts = write_quarantine(build.folder, [loaded.quarantined, *set_aside])
    logger.info("pivot: %d of %d prompts in English; %s", translated.height, foreign.height, _rules(set_aside))
    not_selected = loaded.items.height - foreign.height
    return RowCounts(read=loaded.read, kept=translated.height, quarantined=counts, not_selected=not_selected)


def _split_by_language(foreign: pl.DataFrame, into_english: RowTranslator) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The items whose language the translator knows, with its `flores_code`, and the others by rule."""
    codes = {language: flores_code_of(language) for language in foreign["language"].unique()}
    named = foreign.with_columns(flores_code=pl.col("language").replace_strict(codes, return_dtype=pl.String))
    unknown = pl.col("flores_code") == ""
    is_known = pl.col("flores_code").is_in(into_english.known(filter(None, codes.values())))
    by_rule = (
        (named.filter(unknown), UNKNOWN_LANGUAGE, _NOT_IN_TABLE),
        (named.filter(~unknown & ~is_known), LACKS_LANGUAGE, NO_TOKEN),
    )
    lacking = [quarantine_rows(rows.select(foreign.columns), "item_id", rule, why) for rows, rule, why in by_rule]
    return named.filter(is_known), lacking


def _translated(
    known: pl.DataFrame, into_english: RowTranslator, build: Build[PivotConfig]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """PivotPrompt rows, and the items to which the translator said nothing."""
    identified = known.with_columns(row_id=pl.concat_str(*ITEM_KEY, separator=":"))
    rows = identified.select("row_id", "flores_code", inputs="prompt", targets=pl.lit(""))  # a prompt has no response
    english = into_english.translated(rows, build)
    joined = identified.join(english, on="row_id", how="inner", validate="1:1")
    is_empty = (pl.col("empty_segments") > 0) | pl.col("inputs_en").str.contains(INVISIBLE)
    columns = [name for name in known.columns if name != "flores_code"]
    empty = quarantine_rows(joined.filter(is_empty).select(columns), "item_id", EMPTY, SAID_NOTHING)
    kept = joined.filter(~is_empty).select(*ITEM_KEY, "quality", "flags", prompt_en="inputs_en").sort(*ITEM_KEY)
    return kept.select(PivotPrompt.column_names()), empty


def _rules(set_aside: list[pl.DataFrame]) -> str:
    counts = {frame["rule"][0]: frame.height for frame in set_aside if frame.height}
    return ", ".join(f"{rule} {number}" for rule, number in counts.items()) or "none set aside"
