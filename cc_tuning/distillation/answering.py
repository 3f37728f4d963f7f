"""The base model's own answers to English prompts: greedy, in batches of prompts of similar length, in shards."""

from collections.abc import Callable
from functools import cache

import dataframely as dy
import polars as pl
import torch
from transformers import PreTrainedTokenizerBase

from cc_tuning.distillation.answer_filters import LONGER_THAN_CONTEXT, judge_answers
from cc_tuning.distillation.config import DistillConfig
from cc_tuning.inference.greedy import ENGLISH, Answer, GreedyAnswerer, longest_first
from cc_tuning.model.checkpoint import downloaded_model, read_base_model
from cc_tuning.runtime.devices import resolve_device
from cc_tuning.runtime.pretrained import load_config
from cc_tuning.runtime.sharded import made_in_shards
from cc_tuning.runtime.step import Build
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from data_contracts.shards import Shards

SHARDS = "shards/answers"
Answerer = Callable[[list[list[int]]], list[Answer]]
"""Answers rendered prompts, in their order."""


class ModelAnswer(dy.Schema):
    """What the model wrote after one prompt, as text."""

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    text = dy.String(nullable=False)
    new_tokens = dy.Int32(nullable=False, min=0)
    """The one that stops is among them."""
    stopped = dy.Bool(nullable=False)


def answer_pairs(build: Build[DistillConfig], pairs: pl.DataFrame, count: Callable[[int], None]) -> pl.DataFrame:
    """Columns of ModelAnswer, english_answer, and answer_rule for each of `pairs` (ParallelPair), sorted by pair_id.

    A pair whose prompt leaves no room for an answer in the model's context has nulls and the rule's name. `count` is
    told the answers of each shard.

    Raises:
        UnsupportedModel: the base model cannot be downloaded or has no usable tokenizer.
        ArtifactMismatch: its files, or those of a finished shard, are missing or damaged.
    """
    pairs = pairs.sort("pair_id").select("pair_id", "inputs_en")
    answers = _answers(build, pairs, count) if pairs.height else ModelAnswer.create_empty()
    torch.cuda.empty_cache()  # the base model is gone, and the translator comes next
    judged = judge_answers(answers.join(pairs, on="pair_id", maintain_order="left"))
    every = pairs.select("pair_id").join(judged.drop("inputs_en"), on="pair_id", how="left", maintain_order="left")
    # A pair without an answer was not asked.
    return every.with_columns(pl.col("answer_rule").fill_null(LONGER_THAN_CONTEXT))


def _answers(build: Build[DistillConfig], pairs: pl.DataFrame, count: Callable[[int], None]) -> pl.DataFrame:
    """A ModelAnswer for each pair whose prompt fits the model's context."""
    base = build.inputs["base"]
    tokenizer = load_tokenizer(base, build.config.chat_template)
    ids = ChatPrompts(tokenizer).encode_prompts(pairs["inputs_en"].to_list())
    context_tokens = load_config(base).max_position_embeddings
    room = context_tokens - build.config.distillation.max_new_tokens
    asked = pairs.select("pair_id", input_ids=pl.Series(ids, dtype=pl.List(pl.Int32)))
    asked = asked.filter(pl.col("input_ids").list.len() <= room)
    # `all_special_ids` has the named ones only: not the header and end-of-turn tokens of Llama 3.
    special = frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)

    @cache  # loaded once, and only when some shard is open
    def base_model() -> Answerer:
        return load_base_model(build, tokenizer)

    def make(part: pl.DataFrame) -> pl.DataFrame:
        prompts: list[list[int]] = part["input_ids"].to_list()
        answers: dict[int, Answer] = {}
        for batch in longest_first(prompts, build.execution.evaluation_batch_size):
            found = base_model()([prompts[row] for row in batch])
            answers |= {row: spoken(answer, special) for row, answer in zip(batch, found, strict=True)}
        in_order = [answers[row] for row in range(len(prompts))]
        return part.select(
            "pair_id",
            text=pl.Series([tokenizer.decode(answer.token_ids) for answer in in_order], dtype=pl.String),
            new_tokens=pl.Series([len(answer.token_ids) + answer.stopped for answer in in_order], dtype=pl.Int32),
            stopped=pl.Series([answer.stopped for answer in in_order], dtype=pl.Boolean),
        )

    shards = Shards(build.folder / SHARDS)
    return made_in_shards(asked, build.execution.distillation_shard_rows, shards, ModelAnswer, make, count)


def load_base_model(build: Build[DistillConfig], tokenizer: PreTrainedTokenizerBase) -> Answerer:
    """The base model as it was before any tuning, ready to answer."""
    base, config = build.inputs["base"], build.config.distillation
    model = read_base_model(downloaded_model(base.name, base.revision), getattr(torch, config.dtype))
    # transformers' types hide the methods of a model behind decorators.
    model = model.to(resolve_device(build.execution.device))  # type: ignore[arg-type]
    answerer = GreedyAnswerer(model, tokenizer, config.max_new_tokens)
    return lambda prompts: answerer.answer_batch(prompts, None, "off", ENGLISH)


def spoken(answer: Answer, special_ids: frozenset[int]) -> Answer:
    """The answer up to its first control token.

    A base model has not learnt to end its turn and may open the next one instead: that is an end too.
    """
    for place, token_id in enumerate(answer.token_ids):
        if token_id in special_ids:
            return Answer(answer.token_ids[:place], True, answer.selected_layer)
    return answer
