"""A run's answers laid beside its baseline's, and a judge's verdicts on them as rows."""

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.evaluation.judge import asking
from cc_tuning.evaluation.judge.asking import Patience, ask_all, question_key
from cc_tuning.evaluation.judge.client import Ask
from cc_tuning.evaluation.judge.config import JudgeConfig, RunJudging
from cc_tuning.evaluation.judge.rule import judged_by_rule
from cc_tuning.evaluation.judge.verdicts import Messages, messages_for
from cc_tuning.evaluation.requests import ENGLISH
from data_contracts.schemas import JUDGED_ORDERS, Judgement

_CONNECTIONS = ("transform", "off")
"""Of a run's answers, those that are judged: through its connection where it has one."""


def paired_answers(
    predictions: pl.DataFrame, of_baseline: pl.DataFrame, items: pl.DataFrame, benchmarks: tuple[str, ...]
) -> pl.DataFrame:
    """`ITEM_KEY`, `prompt`, `answers` (the references), and the responses `run` and `baseline`, sorted by key.

    Raises:
        EvaluationFailed: the two did not answer the same items, or nothing of what is to be judged.
    """
    own, others = (_answers(frame, benchmarks) for frame in (predictions, of_baseline))
    if own.is_empty():
        raise EvaluationFailed(
            f"there is no answer to judge: no item of {', '.join(benchmarks)} was answered; give items of it in "
            "`evaluation.items`, name it in `evaluation.benchmarks`, or change `judge.benchmarks`"
        )
    paired = own.rename({"response": "run"}).join(
        others.rename({"response": "baseline"}), on=ITEM_KEY, how="full", coalesce=True, validate="1:1"
    )
    if alone := paired.filter(pl.any_horizontal(pl.col("run", "baseline").is_null())).height:
        raise EvaluationFailed(
            f"{alone} of {paired.height} items were answered by one of the two runs only; evaluate both on the same "
            "items and languages"
        )
    known = items.with_columns(pl.col("benchmark").cast(pl.String)).select(*ITEM_KEY, "prompt", "answers")
    return paired.join(known, on=ITEM_KEY, how="left", validate="1:1").sort(*ITEM_KEY)


def judge_with_model(
    paired: pl.DataFrame,
    config: RunJudging,
    ask: Ask,
    folder: Path,
    patience: Patience,
    count: Callable[[int], None],
) -> pl.DataFrame:
    """Judgement rows: each item in both orders; raises as `ask_all`."""
    asked = {
        (*(row[name] for name in ITEM_KEY), order): _messages(row, order, config.judge)
        for row in paired.iter_rows(named=True)
        for order in JUDGED_ORDERS
    }
    keys = {place: question_key(config.judge, messages) for place, messages in asked.items()}
    questions = {keys[place]: messages for place, messages in asked.items()}
    found = ask_all(questions, ask, folder, patience, count)
    return _rows(config, {place: found[key] for place, key in keys.items()})


def judge_by_rule(paired: pl.DataFrame, config: RunJudging, count: Callable[[int], None]) -> pl.DataFrame:
    """Judgement rows of the fixed rule: each item in both orders."""
    found = {}
    for row in paired.iter_rows(named=True):
        for order in JUDGED_ORDERS:
            first, second = _in_order(row, order)
            verdict = judged_by_rule(first, second, row["language"], row["answers"])
            found[(*(row[name] for name in ITEM_KEY), order)] = asking.Judgement(verdict=verdict, tries=0)
        count(len(JUDGED_ORDERS))
    return _rows(config, found)


def _answers(predictions: pl.DataFrame, benchmarks: tuple[str, ...]) -> pl.DataFrame:
    plain = predictions.with_columns(pl.col("benchmark", "connection").cast(pl.String))
    there = set(plain["connection"])
    connection = next((name for name in _CONNECTIONS if name in there), "off")
    chosen = (pl.col("connection") == connection) & pl.col("benchmark").is_in(list(benchmarks))
    return plain.filter(chosen).select(*ITEM_KEY, "response")


def _messages(row: Mapping[str, str], order: str, judge: JudgeConfig) -> Messages:
    first, second = _in_order(row, order)
    with_clause = judge.language_clause and row["language"] != ENGLISH
    return messages_for(row["prompt"], first, second, with_clause)


def _in_order(row: Mapping[str, str], order: str) -> tuple[str, str]:
    both = row["run"], row["baseline"]
    return both if order == JUDGED_ORDERS[0] else (both[1], both[0])


def _rows(config: RunJudging, found: Mapping[tuple[str, ...], asking.Judgement]) -> pl.DataFrame:
    rows = []
    for (*key, order), judgement in found.items():
        sides = ("run", "baseline") if order == JUDGED_ORDERS[0] else ("baseline", "run")
        named = {"first": sides[0], "second": sides[1]}
        rows.append(
            {
                "run": config.run,
                "baseline": config.baseline,
                **dict(zip(ITEM_KEY, key, strict=True)),
                "order": order,
                **judgement.model_dump(),
                "verdict": named.get(judgement.verdict, judgement.verdict),
            }
        )
    frame = pl.DataFrame(rows).select(Judgement.column_names())
    return Judgement.cast(frame).sort(*Judgement.primary_key())
