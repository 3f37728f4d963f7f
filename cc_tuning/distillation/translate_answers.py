"""Answers and words carried from English to the languages of their pairs, by the recipe's translator.

Languages follow one another, each with shards of its own. All words of a language are decoded in one call, each
different word once, so what a word becomes does not depend on which prompts were switched before a kill.
"""

from collections.abc import Callable, Iterator

import dataframely as dy
import polars as pl

from cc_tuning.distillation.code_switching import switch_words, usable_translations, words_to_switch
from cc_tuning.distillation.config import DistillationConfig, DistillConfig
from cc_tuning.runtime.sharded import made_in_shards
from cc_tuning.runtime.step import Build
from cc_tuning.text.languages import ENGLISH, Language, by_flores_code
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.decoding import CheckedDecoder, flags_in, quality_of, translate_texts
from cc_tuning.translation.memory import keep_segments, recall_segments
from data_contracts.shards import Shards

EMPTY_TRANSLATION, LACKS_LANGUAGE, NOTHING_SWITCHED = (
    "empty_translation", "translator_lacks_language", "nothing_switched",
)  # fmt: skip
CARRIED = ("translated_answer", "code_switched")
"""The tasks that need the translator."""
_TRANSLATED, _WORDS = "shards/translated", "shards/words"
_WORDS_FILE = "words.parquet"


class CarriedAnswer(dy.Schema):
    """A base model's answer in the language of its pair."""

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    answer = dy.String(nullable=False)
    empty_segments = dy.Int64(nullable=False, min=0)
    answer_quality = dy.Float64(nullable=False, min=0.0, max=1.0)
    answer_flags = dy.List(dy.String(nullable=False), nullable=False)


_SWITCHED = {"pair_id": pl.String, "switched_prompt": pl.String, "switch_rule": pl.String}


def carry_over(
    build: Build[DistillConfig], answered: pl.DataFrame, drawn: pl.DataFrame, count: Callable[[int], None]
) -> pl.DataFrame:
    """The translator's versions of the answers and prompts of `answered`, as far as `drawn` (pair_id, task) asks.

    Columns pair_id, answer, answer_quality, answer_flags and translation_rule (empty where nothing is wrong),
    switched_prompt and switch_rule; nulls where nobody asked.

    Args:
        build: of the stage.
        answered: ParallelPair rows with the column english_answer.
        drawn: which task takes which pair.
        count: told how many answers were translated, or prompts switched.

    Raises:
        TranslationFailed: the translator cannot be loaded.
    """
    to_translate, to_switch = (
        answered.join(drawn.filter(pl.col("task") == task), on="pair_id", how="semi") for task in CARRIED
    )
    if to_translate.is_empty() and to_switch.is_empty():
        return _joined(_translations(CarriedAnswer.create_empty(), []), pl.DataFrame(schema=_SWITCHED))
    translator = load_translator(build.inputs["translator"], build.config.translation, build.execution)
    decoder = CheckedDecoder(translator, build.config.translation.retry)
    codes = sorted({*to_translate["flores_code"], *to_switch["flores_code"]})
    known = [code for code in codes if translator.knows(by_flores_code(code))]
    is_known = pl.col("flores_code").is_in(known)
    carried = _carry_answers(build, to_translate.filter(is_known), decoder, count)
    switched = _switch_prompts(build, to_switch.filter(is_known), decoder, count)
    lacking = [(pair_id, None, LACKS_LANGUAGE) for pair_id in to_switch.filter(~is_known)["pair_id"]]
    switched = pl.concat([switched, pl.DataFrame(lacking, schema=_SWITCHED, orient="row")])
    return _joined(_translations(carried, to_translate.filter(~is_known)["pair_id"].to_list()), switched)


def _translations(carried: pl.DataFrame, lacking: list[str]) -> pl.DataFrame:
    """`carried` with the rule that each answer breaks, and the pairs whose language the translator does not know."""
    is_empty = (pl.col("empty_segments") > 0) | (pl.col("answer").str.strip_chars() == "")
    judged = carried.with_columns(
        pl.when(~is_empty).then("answer").alias("answer"),
        pl.when(is_empty).then(pl.lit(EMPTY_TRANSLATION)).otherwise(pl.lit("")).alias("translation_rule"),
    ).drop("empty_segments")
    unknown = pl.DataFrame({"pair_id": pl.Series(lacking, dtype=pl.String)}).with_columns(
        pl.lit(LACKS_LANGUAGE).alias("translation_rule")
    )
    return pl.concat([judged, unknown], how="diagonal")


def _joined(translations: pl.DataFrame, switched: pl.DataFrame) -> pl.DataFrame:
    return translations.join(switched, on="pair_id", how="full", coalesce=True, validate="1:1").sort("pair_id")


def _carry_answers(
    build: Build[DistillConfig], answers: pl.DataFrame, decoder: CheckedDecoder, count: Callable[[int], None]
) -> pl.DataFrame:
    longest = build.config.translation.max_segment_tokens

    def into(language: Language) -> Callable[[pl.DataFrame], pl.DataFrame]:
        def carried(part: pl.DataFrame) -> pl.DataFrame:
            english = part["english_answer"].to_list()
            texts, _ = translate_texts(english, ENGLISH, language, decoder, longest, memory={})
            empty = [sum("empty" in segment.flags for segment in text.segments) for text in texts]
            return part.select(
                "pair_id",
                answer=pl.Series([text.text for text in texts], dtype=pl.String),
                empty_segments=pl.Series(empty, dtype=pl.Int64),
                answer_quality=pl.Series([quality_of(text.segments) for text in texts], dtype=pl.Float64),
                answer_flags=pl.Series([flags_in(text.segments) for text in texts], dtype=pl.List(pl.String)),
            )

        return carried

    made: list[pl.DataFrame] = [CarriedAnswer.create_empty()]
    for language, rows in _by_language(answers):
        shards = Shards(build.folder / _TRANSLATED / language.flores_code)
        shard_rows = build.execution.distillation_shard_rows
        made.append(made_in_shards(rows, shard_rows, shards, CarriedAnswer, into(language), count))
    return pl.concat(made)


def _switch_prompts(
    build: Build[DistillConfig], prompts: pl.DataFrame, decoder: CheckedDecoder, count: Callable[[int], None]
) -> pl.DataFrame:
    switched: list[tuple[str, str | None, str]] = []
    for language, rows in _by_language(prompts):
        chosen = _chosen_words(rows, build.config.distillation)
        shards = Shards(build.folder / _WORDS / language.flores_code)
        if not shards.is_done(_WORDS_FILE):
            words = {word for of_prompt in chosen.values() for word in of_prompt}
            keep_segments(decoder.decode(words, ENGLISH, language), shards, _WORDS_FILE)
        translations = usable_translations(recall_segments(shards, _WORDS_FILE))
        for pair_id, prompt in rows.select("pair_id", "inputs_en").iter_rows():
            text = switch_words(prompt, chosen[pair_id], translations)
            switched.append((pair_id, text, "") if text != prompt else (pair_id, None, NOTHING_SWITCHED))
        count(rows.height)
    return pl.DataFrame(switched, schema=_SWITCHED, orient="row")


def _chosen_words(rows: pl.DataFrame, config: DistillationConfig) -> dict[str, list[str]]:
    return {
        pair_id: words_to_switch(prompt, pair_id, config.switched_words, config.seed)
        for pair_id, prompt in rows.select("pair_id", "inputs_en").iter_rows()
    }


def _by_language(rows: pl.DataFrame) -> Iterator[tuple[Language, pl.DataFrame]]:
    for flores_code in sorted(rows["flores_code"].unique()):
        yield by_flores_code(flores_code), rows.filter(pl.col("flores_code") == flores_code).sort("pair_id")
