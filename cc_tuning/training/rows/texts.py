"""The rows of a data setting as text, before any length is known."""

import polars as pl

from cc_tuning.training.rows.config import Setting

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


def _identity(task: str, language_code: pl.Expr | None = None) -> list[pl.Expr]:
    return [
        pl.col("place"),
        pl.format("{}:{}", "pair_id", pl.lit(task)).alias("row_id"),
        pl.col("pair_id"),
        pl.lit(task).alias("task"),
        pl.col("language_code") if language_code is None else language_code,
    ]
