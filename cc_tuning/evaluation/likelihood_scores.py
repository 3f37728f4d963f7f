"""From the likelihoods of given answers to scores of items.

With `p` the probability of an answer of `n` tokens and `b` bytes of UTF-8:

    gold_nll                            -ln p / n    of the gold answer, nats per token
    gold_bits_per_byte                  -log2 p / b  of the gold answer: comparable between tokenizers and scripts
    accuracy_by_likelihood              100 where the option with the largest p is right, else 0
    accuracy_by_likelihood_per_byte     100 where the option with the largest ln p / b is right, else 0

Of equally likely options the first counts, as the benchmark orders them.
"""

import math

import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.candidates import GOLD, gold_answer
from cc_tuning.evaluation.items import ITEM_KEY
from data_contracts.schemas import ItemScore

_SCORED = ("run", "connection", *ITEM_KEY)


def score_likelihoods(likelihoods: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """ItemScore rows: the gold answer of every item under two metrics, and the options under two more where it has any.

    Raises:
        EvaluationFailed: a likelihood is of no item.
    """
    plain = likelihoods.with_columns(pl.col("connection", "benchmark").cast(pl.String))
    gold = [gold_answer(answers) for answers in items["answers"].to_list()]
    of_items = items.select(*ITEM_KEY, "group", "cluster").with_columns(
        pl.col("benchmark").cast(pl.String), gold=pl.Series(gold, dtype=pl.String)
    )
    known = plain.join(of_items, on=ITEM_KEY, how="left", validate="m:1", maintain_order="left")
    if unknown := known.filter(pl.col("gold").is_null())["item_id"].to_list():
        raise EvaluationFailed(f"{len(unknown)} likelihoods are of no item, first {unknown[:3]}; run the stage again")
    rows = pl.concat([*_of_gold(known.filter(candidate=GOLD)), *_of_options(known)])
    return ItemScore.cast(rows).sort(*ItemScore.primary_key())


def _of_gold(gold: pl.DataFrame) -> list[pl.DataFrame]:
    log_likelihood = pl.col("log_likelihood")
    return [
        _metric(gold, "gold_nll", -log_likelihood / pl.col("tokens")),
        _metric(gold, "gold_bits_per_byte", -log_likelihood / math.log(2) / pl.col("bytes")),
    ]


def _of_options(known: pl.DataFrame) -> list[pl.DataFrame]:
    places = pl.DataFrame(
        [(name, option, place) for name, row in BENCHMARKS.items() for place, option in enumerate(row.options)],
        schema={"benchmark": pl.String, "candidate": pl.String, "place": pl.Int32},
        orient="row",
    )
    options = known.join(places, on=["benchmark", "candidate"], how="inner", validate="m:1").sort("place")
    by_item = options.group_by(*_SCORED, "group", "cluster", "gold")
    log_likelihood = pl.col("log_likelihood")
    measures = {
        "accuracy_by_likelihood": log_likelihood,
        "accuracy_by_likelihood_per_byte": log_likelihood / pl.col("bytes"),
    }
    chosen = by_item.agg(
        pl.col("candidate").filter(measure == measure.max()).first().alias(name) for name, measure in measures.items()
    )
    return [_metric(chosen, name, 100.0 * (pl.col(name) == pl.col("gold")).cast(pl.Float64)) for name in measures]


def _metric(rows: pl.DataFrame, name: str, value: pl.Expr) -> pl.DataFrame:
    return rows.select(*_SCORED, pl.lit(name).alias("metric"), "group", "cluster", value.alias("value"))
