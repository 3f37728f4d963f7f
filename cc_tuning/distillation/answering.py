"""The base model's own answers to English prompts: greedy, in shards, by the engine that evaluates too."""

from collections.abc import Callable

import dataframely as dy
import polars as pl
from transformers import PreTrainedTokenizerBase

from cc_tuning.distillation.answer_filters import LONGER_THAN_CONTEXT, judge_answers
from cc_tuning.distillation.config import DistillConfig
from cc_tuning.inference.job_files import read_answers, write_requests
from cc_tuning.inference.jobs import Engine, Generate, InferenceJob, InferenceShard
from cc_tuning.runtime.pretrained import load_config
from cc_tuning.runtime.step import Build
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer

FOLDER = "generated"
"""Of the answers, below the artifact's shards."""


class ModelAnswer(dy.Schema):
    """What the model wrote after one prompt, as text."""

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    text = dy.String(nullable=False)
    new_tokens = dy.Int32(nullable=False, min=0)
    """The one that stops is among them."""
    stopped = dy.Bool(nullable=False)


def answer_pairs(
    engine: Engine, build: Build[DistillConfig], pairs: pl.DataFrame, count: Callable[[int], None]
) -> pl.DataFrame:
    """Columns of ModelAnswer, english_answer, and answer_rule for each of `pairs` (ParallelPair), sorted by pair_id.

    A pair whose prompt leaves no room for an answer in the model's context has nulls and the rule's name. `count` is
    told how many pairs are done more.

    Raises:
        UnsupportedModel: the base model cannot be downloaded or has no usable tokenizer.
        ArtifactMismatch: its files, or those of a finished shard, are missing or damaged.
        EvaluationFailed: the engine stopped; what it finished is kept for the next try.
    """
    pairs = pairs.sort("pair_id").select("pair_id", "inputs_en")
    answers = _answers(engine, build, pairs, count) if pairs.height else ModelAnswer.create_empty()
    judged = judge_answers(answers.join(pairs, on="pair_id", maintain_order="left"))
    every = pairs.select("pair_id").join(judged.drop("inputs_en"), on="pair_id", how="left", maintain_order="left")
    # A pair without an answer was not asked.
    return every.with_columns(pl.col("answer_rule").fill_null(LONGER_THAN_CONTEXT))


def _answers(
    engine: Engine, build: Build[DistillConfig], pairs: pl.DataFrame, count: Callable[[int], None]
) -> pl.DataFrame:
    """A ModelAnswer for each pair whose prompt fits the model's context."""
    base, config = build.inputs["base"], build.config.distillation
    tokenizer = load_tokenizer(base, build.config.chat_template)
    prompts = ChatPrompts(tokenizer)
    ids = prompts.encode_prompts(pairs["inputs_en"].to_list())
    room = load_config(base).max_position_embeddings - config.max_new_tokens
    rows = pl.DataFrame({"item_id": pairs["pair_id"], "input_ids": pl.Series(ids, dtype=pl.List(pl.Int32))})
    rows = rows.filter(pl.col("input_ids").list.len() <= room).with_columns(
        english_input_ids=pl.lit(None, pl.List(pl.Int32))
    )
    generate = Generate(max_new_tokens=config.max_new_tokens, stop_token_ids=stop_token_ids(prompts, tokenizer))
    parts = _in_shards(rows, build.execution.distillation_shard_rows, generate)
    job = InferenceJob(
        checkpoint=base,
        dtype=config.dtype,
        execution=build.execution,
        folder=build.folder.absolute(),
        shards=tuple(shard for shard, _ in parts),
    )
    job.remove_strays()
    waiting = job.of_open_shards()
    for shard, part in parts:
        if shard in waiting.shards:
            write_requests(job, shard, part)
    if done_before := rows.height - sum(shard.prompts for shard in waiting.shards):
        count(done_before)
    if waiting.shards:
        engine.answer(waiting, count, build.run_all)
    made = [_as_text(read_answers(job, shard, part["item_id"].to_list()), tokenizer) for shard, part in parts]
    return pl.concat([ModelAnswer.create_empty(), *made])


def stop_token_ids(prompts: ChatPrompts, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every control token ends an answer.

    A base model has not learnt to end its turn and may open the next one instead: that is an end too.
    """
    # `all_special_ids` has the named ones only: not the header and end-of-turn tokens of Llama 3.
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return tuple(sorted(special | set(prompts.stop_token_ids)))


def _in_shards(rows: pl.DataFrame, shard_rows: int, generate: Generate) -> list[tuple[InferenceShard, pl.DataFrame]]:
    """A shard for each range of rows, named by their places."""
    shards = []
    for first in range(0, rows.height, shard_rows):
        part = rows.slice(first, shard_rows)
        shard = InferenceShard(
            name=f"{FOLDER}/{first:08d}-{first + part.height - 1:08d}.parquet",
            connection="off",
            request=generate,
            is_english=True,
            prompts=part.height,
        )
        shards.append((shard, part))
    return shards


def _as_text(answers: pl.DataFrame, tokenizer: PreTrainedTokenizerBase) -> pl.DataFrame:
    texts = [tokenizer.decode(ids) for ids in answers["token_ids"].to_list()]
    return answers.select(
        pl.col("item_id").alias("pair_id"),
        pl.Series("text", texts, dtype=pl.String),
        pl.col("token_ids").list.len().cast(pl.Int32).alias("new_tokens") + pl.col("stopped").cast(pl.Int32),
        "stopped",
    )
