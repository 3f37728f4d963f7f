"""From items to what an engine is asked: token ids that fit the model, and one shard per connection and language."""

from dataclasses import dataclass

import polars as pl

from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.inference.jobs import EvaluationShard
from cc_tuning.model import ConnectionMode
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.quarantine import quarantine_rows

LONGER_THAN_CONTEXT = "prompt_longer_than_context"


@dataclass(frozen=True)
class Requests:
    """EvaluationRequest rows, and the items set aside because a prompt does not fit."""

    rows: pl.DataFrame
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
    tokens = pl.List(pl.Int32)
    rows = items.with_columns(
        input_ids=pl.Series(ids, dtype=tokens), english_input_ids=pl.Series(english, dtype=tokens)
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


def plan_shards(requests: pl.DataFrame, connections: tuple[ConnectionMode, ...]) -> tuple[EvaluationShard, ...]:
    """One shard per connection, benchmark and language that has something to answer, in a fixed order."""
    groups = requests.group_by("benchmark", "language").agg(
        items=pl.len(), parallel=pl.col("english_input_ids").is_not_null().sum()
    )
    shards = []
    for connection in connections:
        for row in groups.sort("benchmark", "language").iter_rows(named=True):
            count = row["parallel" if connection == "parallel" else "items"]
            if count:
                shards.append(
                    EvaluationShard(
                        connection=connection, benchmark=row["benchmark"], language=row["language"], items=count
                    )
                )
    return tuple(shards)
