"""From items to what an engine is asked, and from its answers to predictions.

A shard is one connection, benchmark and language. A benchmark of the kind `generate` asks once per item. One of the
kind `loglikelihood` asks once per item and option, for the option and the end of the turn after it; the most likely
option is the response, and the first of equals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from transformers import PreTrainedTokenizerBase

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.inference.job_files import read_answers, write_requests
from cc_tuning.inference.jobs import Generate, InferenceJob, InferenceShard, LogLikelihood
from cc_tuning.model.config import ConnectionMode
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.quarantine import quarantine_rows

LONGER_THAN_CONTEXT = "prompt_longer_than_context"
ENGLISH = "en"
_TOKENS = pl.List(pl.Int32)


@dataclass(frozen=True)
class Requests:
    """The items that can be asked with the token ids of their prompts, and those set aside for their length."""

    rows: pl.DataFrame
    """`ITEM_KEY`, input_ids and english_input_ids (null where there is no English prompt)."""
    quarantined: pl.DataFrame
    """In the form of `QuarantinedRow`."""


def render_requests(
    items: pl.DataFrame, prompts: ChatPrompts, *, with_english: bool, context_tokens: int, max_new_tokens: int
) -> Requests:
    """The rendered prompts of BenchmarkItem rows; `with_english` adds the English prompts where an item has one.

    An item one of whose prompts leaves no room for `max_new_tokens` within `context_tokens` is set aside for all
    connections, so that their scores are about the same items.
    """
    english: list[list[int] | None] = [None] * items.height
    if with_english:
        texts = items["prompt_en"].to_list()
        encoded = iter(prompts.encode_prompts([text for text in texts if text is not None]))
        english = [None if text is None else next(encoded) for text in texts]
    ids = prompts.encode_prompts(items["prompt"].to_list())
    rows = items.with_columns(
        input_ids=pl.Series(ids, dtype=_TOKENS), english_input_ids=pl.Series(english, dtype=_TOKENS)
    )
    longest = pl.max_horizontal(pl.col("input_ids", "english_input_ids").list.len())  # ignores a missing one
    fits = longest + max_new_tokens <= context_tokens
    quarantined = quarantine_rows(
        rows.filter(~fits).select(items.columns),
        "item_id",
        LONGER_THAN_CONTEXT,
        f"a rendered prompt and {max_new_tokens} new tokens need more than the model's {context_tokens}",
    )
    return Requests(rows.filter(fits).select(*ITEM_KEY, "input_ids", "english_input_ids"), quarantined)


@dataclass(frozen=True)
class PlannedShard:
    """A shard and the items it is about."""

    shard: InferenceShard
    benchmark: str
    language: str
    rows: pl.DataFrame
    """As in `Requests`."""


def plan_shards(
    requests: pl.DataFrame, connections: tuple[ConnectionMode, ...], generate: Generate
) -> Iterator[PlannedShard]:
    """A shard for each connection, benchmark and language that has something to answer, in a fixed order.

    With the real English prompt only items that have one are asked.
    """
    for connection in connections:
        for (name, language), group in requests.sort(*ITEM_KEY).group_by("benchmark", "language", maintain_order=True):
            has_english = pl.col("english_input_ids").is_not_null()
            rows = group.filter(has_english) if connection == "parallel" else group
            if not rows.height:
                continue
            benchmark = BENCHMARKS[str(name)]
            is_generated = benchmark.request == "generate"
            shard = InferenceShard(
                name=f"{connection}/{name}-{language}.parquet",
                connection=connection,
                request=generate if is_generated else LogLikelihood(),
                is_english=language == ENGLISH,
                prompts=rows.height * (1 if is_generated else len(benchmark.options)),
            )
            yield PlannedShard(shard, str(name), str(language), rows)


def write_shard(job: InferenceJob, planned: PlannedShard, prompts: ChatPrompts) -> None:
    """Write what the engine is asked in one shard."""
    shard, english = planned.shard, pl.col("english_input_ids")
    rows = planned.rows.with_columns(
        english if shard.connection == "parallel" else pl.lit(None, _TOKENS).alias("english_input_ids")
    )
    if shard.request.kind == "loglikelihood":
        options = BENCHMARKS[planned.benchmark].options
        continuations = pl.DataFrame(
            {
                "option": pl.Series(options, dtype=pl.String),
                "continuation_ids": pl.Series([_turn(prompts, option) for option in options], dtype=_TOKENS),
            }
        )
        rows = rows.join(continuations, how="cross", maintain_order="left_right")
        rows = rows.with_columns(pl.format("{} {}", "option", "item_id").alias("item_id"))
    write_requests(job, shard, rows)


def read_predictions(
    job: InferenceJob, planned: PlannedShard, run: str, tokenizer: PreTrainedTokenizerBase
) -> pl.DataFrame:
    """The Prediction rows of one shard.

    Raises:
        EvaluationFailed: the engine did not answer what it was asked.
    """
    shard, rows = planned.shard, planned.rows
    read = _most_likely if shard.request.kind == "loglikelihood" else _written
    return rows.select(
        pl.lit(run).alias("run"),
        pl.lit(shard.connection).alias("connection"),
        *ITEM_KEY,
        pl.col("input_ids").list.len().alias("prompt_tokens"),
    ).hstack(read(job, planned, tokenizer))


def _written(job: InferenceJob, planned: PlannedShard, tokenizer: PreTrainedTokenizerBase) -> pl.DataFrame:
    answers = read_answers(job, planned.shard, planned.rows["item_id"].to_list())
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in answers["token_ids"].to_list()]
    return answers.select(
        pl.Series("response", texts, dtype=pl.String),
        pl.col("token_ids").list.len().cast(pl.Int32).alias("new_tokens") + pl.col("stopped").cast(pl.Int32),
        "stopped",
        "selected_layer",
    )


def _most_likely(job: InferenceJob, planned: PlannedShard, tokenizer: PreTrainedTokenizerBase) -> pl.DataFrame:
    options, ids = BENCHMARKS[planned.benchmark].options, planned.rows["item_id"].to_list()
    scores = read_answers(job, planned.shard, [f"{option} {item_id}" for item_id in ids for option in options])
    chosen: list[int] = []
    values: Sequence[float] = scores["log_likelihood"].to_list()
    for first in range(0, len(values), len(options)):
        of_item = values[first : first + len(options)]
        chosen.append(first + of_item.index(max(of_item)))
    return scores.select(
        pl.Series("response", list(options) * len(ids), dtype=pl.String),
        pl.col("tokens").alias("new_tokens"),
        pl.lit(True).alias("stopped"),
        "selected_layer",
    )[chosen]


def _turn(prompts: ChatPrompts, option: str) -> list[int]:
    """The ids of a whole answer, with the token that ends its turn."""
    example = prompts.encode_example("", option)
    return example.input_ids[example.prompt_length :]
