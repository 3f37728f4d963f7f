"""The stage `materialize`: parallel pairs become training rows, as text and as the token ids the model will see.

Data settings (Ye et al. 2025, Appendix A.1), for N pairs of which E are English:

| setting | rows | |
| --- | --- | --- |
| `plain` | N | `(x, y)` |
| `en` | 2N - E | and `(x_en, y_en)`; an English pair is its own parallel and is not repeated (the paper counts 2N) |
| `mt` | 2N - E | and the translation of `x_en` into `x`; there is nothing to translate in an English pair |

Every row has the English prompt that CC-Tuning reads beside it. For a row that is English already, and for a
translation task, whose instruction and input are English, it is the row's own prompt (`x_en = x`). So one artifact
serves ML-SFT and CC-Tuning of the same setting.

Lengths are settled here, once: a response that passes the cut-off is cut (and then not taught to end there: its
end-of-turn token is cut too), a prompt that does is quarantined, because its connection position would be lost.

Pairs whose translation is below `min_quality` are set aside here and not where they were made, so that another bound
translates nothing again. That is a choice and no damage, so the quarantine limit does not count it.

Pairs are read, encoded and written batch by batch, so memory does not grow with their number.
"""

from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.errors import ConfigError
from cc_tuning.prompts import ChatPrompts, ChatTemplate, connection_position, load_tokenizer
from cc_tuning.row_tally import RowTally
from cc_tuning.step import Build, Source, Step
from data_contracts.files import write_json
from data_contracts.manifest import RowCounts
from data_contracts.parquet_stream import read_batches, row_count, written_in_batches
from data_contracts.quarantine import QUARANTINE, check_quarantine_limit, quarantine_rows
from data_contracts.schemas import ParallelPair, QuarantinedRow, TrainingRow

STAGE, VERSION = "materialize", 3
ROWS, TOKENIZER, SUMMARY = "training_rows.parquet", "tokenizer", "summary.json"
BELOW_MIN_QUALITY = "translation_below_min_quality"
TRANSLATION_INSTRUCTION = "Translate the following sentence from English to {language}."

_TEXT_COLUMNS = ["row_id", "pair_id", "task", "language_code", "prompt", "response", "english_prompt"]


class MaterializationConfig(BaseModel):
    """Which rows are made of the pairs, and how they are rendered and cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: Literal["plain", "en", "mt"] = Field(
        default="plain",
        description="Rows beside the pairs themselves: none, the English versions, or translation tasks.",
    )
    chat_template: ChatTemplate = Field(
        default="tokenizer",
        description="The chat template: one of the project's, for base models, or the tokenizer's own.",
    )
    cutoff_tokens: int = Field(
        default=1024, ge=8, description="Tokens of prompt and response together (paper, Appendix A.1: 1,024)."
    )
    english_cutoff_tokens: int = Field(
        default=1024, ge=8, description="Tokens of the English prompt; a budget of its own, unlike the authors' code."
    )
    min_quality: float = Field(
        default=0.0, ge=0, le=1, description="Quality that a translated pair needs to be used; 0 keeps all."
    )
    offset: int = Field(default=0, ge=0, description="The connection position, in tokens before the prompt's last.")


def materialize_step(config: MaterializationConfig, pairs: Source, tokenizer: Source) -> Step:
    """The step that renders `pairs` (the artifact of `translate`) with the tokenizer of a base model."""
    return Step(
        stage=STAGE,
        version=VERSION,
        config=config,
        inputs={"pairs": pairs, "tokenizer": tokenizer},
        build=build_training_rows,
        label=f"{STAGE} {config.setting}",
    )


def build_training_rows(build: Build[MaterializationConfig]) -> RowCounts:
    """Writes the training rows, the quarantine, the tokenizer and a summary; counts are of training rows.

    Raises:
        ContractViolation: more than `quarantine_limit` of the rows have a prompt that is too long.
        ConfigError: no pair is as good as `min_quality` asks.
        PromptNotFound: `offset` reaches beyond the beginning of a prompt.
    """
    config, source = build.config, build.inputs["pairs"].path / "pairs.parquet"
    tokenizer = load_tokenizer(build.inputs["tokenizer"], config.chat_template)
    prompts, tally, total = ChatPrompts(tokenizer), RowTally(), row_count(source)
    with (
        written_in_batches(build.folder / ROWS, TrainingRow) as rows,
        written_in_batches(build.folder / QUARANTINE, QuarantinedRow) as quarantine,
    ):
        for pairs in read_batches(source, ParallelPair):
            enough, below = _split_by_quality(training_texts(pairs, config.setting), pairs, config.min_quality)
            fitting, too_long = _split_by_length(_encode(enough, prompts, config.offset), config)
            cut = fitting.with_columns(pl.col("input_ids").list.head(config.cutoff_tokens))
            set_aside = pl.concat([below, too_long])
            rows.write(cut)
            quarantine.write(set_aside)
            tally.add(pairs, fitting, cut, set_aside)
            build.progress(tally.pairs, total, "pairs")
    counts = dict(sorted(tally.quarantined.items()))
    read = rows.rows + quarantine.rows
    _check_quarantine(read, counts, tally.best_quality, build)
    tokenizer.save_pretrained(build.folder / TOKENIZER)
    write_json(build.folder / SUMMARY, tally.summary())
    return RowCounts(read=read, kept=rows.rows, quarantined=counts)


def _check_quarantine(
    read: int, counts: dict[str, int], best_quality: float, build: Build[MaterializationConfig]
) -> None:
    below = counts.get(BELOW_MIN_QUALITY, 0)
    if read and below == read:
        raise ConfigError(
            f"none of {read} rows has a translation of quality {build.config.min_quality} or more, the best has "
            f"{best_quality:.2f}; lower `data.min_quality`, or use another translator"
        )
    damaged = {rule: number for rule, number in counts.items() if rule != BELOW_MIN_QUALITY}
    check_quarantine_limit(STAGE, read - below, damaged, build.execution.quarantine_limit)


def training_texts(pairs: pl.DataFrame, setting: Literal["plain", "en", "mt"]) -> pl.DataFrame:
    """The rows of a setting as text, before any length is known: each pair, and after it what the setting adds."""
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


def _encode(texts: pl.DataFrame, prompts: ChatPrompts, offset: int) -> pl.DataFrame:
    """`texts` with the columns `input_ids`, `prompt_length` and `english_input_ids`, nothing cut."""
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


def _split_by_quality(
    texts: pl.DataFrame, pairs: pl.DataFrame, min_quality: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose pair is good enough, and the others as QuarantinedRow."""
    is_below = pl.col("quality") < min_quality
    judged = texts.join(pairs.select("pair_id", "quality", "flags"), on="pair_id", how="left", maintain_order="left")
    detail = f"the translation's quality must be at least {min_quality}"
    below = quarantine_rows(judged.filter(is_below), "row_id", BELOW_MIN_QUALITY, detail)
    return judged.filter(~is_below).select(texts.columns), below


def _split_by_length(encoded: pl.DataFrame, config: MaterializationConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
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
        quarantined.append(quarantine_rows(broken.select(_TEXT_COLUMNS), "row_id", rule, detail))
    return encoded, pl.concat(quarantined)


def rows_path(folder: Path) -> Path:
    """The file of training rows in a `materialize` artifact."""
    return folder / ROWS


def tokenizer_path(folder: Path) -> Path:
    """The tokenizer, with the chat template the rows were rendered with, in a `materialize` artifact."""
    return folder / TOKENIZER
