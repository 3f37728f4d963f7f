"""Training examples of a data setting: as text first, then as token ids; what does not fit is set aside."""

import polars as pl

from cc_tuning.text.prompts import ChatPrompts, connection_position, in_context
from cc_tuning.training.rows.config import MaterializationConfig, Setting
from data_contracts.quarantine import quarantine_rows

BELOW_MIN_QUALITY = "translation_below_min_quality"
TRANSLATION_INSTRUCTION = "Translate the following sentence from English to {language}."
TEXT_COLUMNS = ["row_id", "pair_id", "task", "language_code", "prompt", "response", "english_prompt"]


def training_texts(pairs: pl.DataFrame, setting: Setting) -> pl.DataFrame:
    """The rows that a setting makes of pairs: each pair, and after it what the setting adds.

    What `sdrrl` adds is not made of pairs alone; it comes from the stage `distill`.
    """
    pairs = pairs.with_row_index("place")
    is_english = pl.col("origin") == "english"
    native = pairs.select(
        *_identity("native"),
        prompt="inputs",
        response="targets",
        english_prompt=pl.when(is_english).then("inputs").otherwise("inputs_en"),
    )
    others = pairs.filter(~is_english)
    if setting == "en":
        added = others.select(
            *_identity("english", pl.lit("eng").alias("language_code")),
            prompt="inputs_en",
            response="targets_en",
            english_prompt="inputs_en",
        )
    elif setting == "mt":
        instruction = pl.format(TRANSLATION_INSTRUCTION.replace("{language}", "{}") + "\n{}", "language", "inputs_en")
        added = others.select(
            *_identity("translation"), prompt=instruction, response="inputs", english_prompt=instruction
        )
    else:
        return native.drop("place")
    # By pair, so that neither the order of the rows nor the file depends on where a batch of pairs ends.
    return pl.concat([native, added]).sort("place", maintain_order=True).drop("place")


def with_english_in_context(texts: pl.DataFrame) -> pl.DataFrame:
    """`texts` whose prompts begin with their English version; one that is its own English stays as it is."""
    pairs = texts.select("prompt", "english_prompt").iter_rows()
    prompts = [in_context(prompt, english) for prompt, english in pairs]
    return texts.with_columns(pl.Series("prompt", prompts, dtype=pl.String))


def encode(texts: pl.DataFrame, prompts: ChatPrompts, offset: int) -> pl.DataFrame:
    """`texts` with the columns `input_ids`, `prompt_length` and `english_input_ids`, nothing cut.

    Raises:
        PromptNotFound: `offset` reaches beyond the beginning of a prompt.
    """
    examples = prompts.encode_examples(texts["prompt"].to_list(), texts["response"].to_list())
    english = prompts.encode_prompts(texts["english_prompt"].to_list())
    for length in (*(example.prompt_length for example in examples), *map(len, english)):
        connection_position(length, offset)
    ids = pl.List(pl.Int32)
    return texts.with_columns(
        pl.Series("input_ids", [example.input_ids for example in examples], dtype=ids),
        pl.Series("prompt_length", [example.prompt_length for example in examples], dtype=pl.Int32),
        pl.Series("english_input_ids", english, dtype=ids),
    )


def split_by_quality(judged: pl.DataFrame, min_quality: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The texts (with `quality` and `flags`) that are good enough, and the others as QuarantinedRow."""
    is_below = pl.col("quality") < min_quality
    detail = f"the translation's quality must be at least {min_quality}"
    below = quarantine_rows(judged.filter(is_below), "row_id", BELOW_MIN_QUALITY, detail)
    return judged.filter(~is_below), below


def split_by_length(encoded: pl.DataFrame, config: MaterializationConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose prompts fit, and the others as QuarantinedRow; a prompt must leave room for a response."""
    english_length = pl.col("english_input_ids").list.len()
    rules = {
        "prompt_longer_than_cutoff": (
            pl.col("prompt_length") >= config.cutoff_tokens,
            f"a prompt must be shorter than {config.cutoff_tokens} tokens",
        ),
        "english_prompt_longer_than_cutoff": (
            english_length > config.english_cutoff_tokens,
            f"an English prompt may have {config.english_cutoff_tokens} tokens",
        ),
    }
    quarantined = []
    for rule, (is_too_long, detail) in rules.items():
        broken = encoded.filter(is_too_long)
        encoded = encoded.filter(~is_too_long)
        quarantined.append(quarantine_rows(broken.select(TEXT_COLUMNS), "row_id", rule, detail))
    return encoded, pl.concat(quarantined)


def _identity(task: str, language_code: pl.Expr | None = None) -> list[pl.Expr]:
    return [
        pl.col("place"),
        pl.format("{}:{}", "pair_id", pl.lit(task)).alias("row_id"),
        pl.col("pair_id"),
        pl.lit(task).alias("task"),
        pl.col("language_code") if language_code is None else language_code,
    ]
