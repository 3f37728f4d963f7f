"""What differs between two evaluations of the same items, and how near to a tie each differing answer was.

Greedy decoding takes the larger of two logits, and two engines round them otherwise. Where two answers part, the model
says how far apart it finds the two tokens; a gap as small as the rounding explains the difference, a larger one does
not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cc_tuning.evaluation.benchmark import METRICS
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionMode, CrossLingualModel
from data_contracts.layout import ITEM_SCORES, LIKELIHOODS, PREDICTIONS
from data_contracts.parquet import read_parquet
from data_contracts.schemas import CandidateLikelihood, ItemScore, Prediction

TIE = 1e-4
"""Nats between two tokens, and a token of a likelihood, below which two engines are said to agree."""
_ITEM = ("connection", "benchmark", "language", "item_id")


@dataclass(frozen=True)
class Differences:
    """Two evaluations, row by row."""

    answers: pl.DataFrame
    """By connection: `answers`, and how many are `different`."""
    likelihoods: pl.DataFrame
    """By connection: `candidates`, the `largest` difference in nats a token, and how many are `greedy_in_one` alone."""
    scores: pl.DataFrame
    """By metric: `scores`, how many are `different`, and the `largest` difference in the metric's unit."""
    parted: pl.DataFrame
    """The items whose answers differ: their keys."""

    @property
    def are_none(self) -> bool:
        """Whether every answer and every score of an answer is the same, and every likelihood within `TIE`."""
        kinds = pl.col("metric").replace_strict({name: metric.kind for name, metric in METRICS.items()})
        otherwise = self.scores.filter(kinds != "likelihood")["different"].sum()
        return not self.parted.height and not otherwise and max(self.likelihoods["largest"]) <= TIE


def differences(one: Path, other: Path) -> Differences:
    """What differs between the evaluate artifacts in two folders.

    Raises:
        ValueError: they are not about the same rows.
    """
    answers = _joined(one, other, PREDICTIONS, Prediction, _ITEM)
    parts = pl.col("response") != pl.col("response_other")
    likelihoods = _joined(one, other, LIKELIHOODS, CandidateLikelihood, (*_ITEM, "candidate")).with_columns(
        gap=(pl.col("log_likelihood") - pl.col("log_likelihood_other")).abs() / pl.col("tokens")
    )
    scores = _joined(one, other, ITEM_SCORES, ItemScore, (*_ITEM, "metric"))
    gap = (pl.col("value") - pl.col("value_other")).abs()
    return Differences(
        answers.group_by("connection").agg(answers=pl.len(), different=parts.sum()).sort("connection"),
        likelihoods.group_by("connection")
        .agg(
            candidates=pl.len(),
            largest=pl.col("gap").max(),
            greedy_in_one=(pl.col("is_greedy") != pl.col("is_greedy_other")).sum(),
        )
        .sort("connection"),
        scores.group_by("metric").agg(scores=pl.len(), different=(gap > 0).sum(), largest=gap.max()).sort("metric"),
        answers.filter(parts).select(_ITEM),
    )


def _joined(one: Path, other: Path, name: str, contract: type, key: Sequence[str]) -> pl.DataFrame:
    rows, others = (read_parquet(folder / name, contract) for folder in (one, other))
    joined = rows.join(others, on=list(key), how="inner", suffix="_other", validate="1:1")
    if not joined.height == rows.height == others.height:
        raise ValueError(f"{name}: {rows.height} rows in {one}, {others.height} in {other}, {joined.height} in both")
    return joined


def gap_where_parted(
    model: CrossLingualModel, prompt: Prompt, mode: ConnectionMode, one: Sequence[int], other: Sequence[int]
) -> float:
    """How much likelier the model finds one of the two tokens with which two answers part, in nats; each answer ends
    with its stop token, if it has one.
    """
    place = next(place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    ends = [list(ids[: place + 1]) for ids in (one, other)]
    (scores,) = score_candidates(model, [prompt], [ends], mode)
    return abs(scores[0].log_likelihood - scores[1].log_likelihood)
