"""From predictions to scores per item, and from those to scores per language with intervals."""

import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.evaluation.statistics import Interval, resample
from data_contracts.schemas import ItemScore, Score

AVERAGE = "avg"
_KEY = ("run", "connection", *ITEM_KEY, "group")
_MEASUREMENT = ("run", "connection", "benchmark", "metric")


def score_predictions(predictions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """ItemScore rows: every prediction under each metric of its benchmark.

    Raises:
        EvaluationFailed: a prediction answers no item.
    """
    answered = predictions.join(
        items.select(*ITEM_KEY, "answers", "group"), on=ITEM_KEY, how="left", validate="m:1", maintain_order="left"
    )
    if unknown := answered.filter(pl.col("answers").is_null())["item_id"].to_list():
        raise EvaluationFailed(f"{len(unknown)} predictions answer no item, first {unknown[:3]}; run the stage again")
    scored = []
    for row in answered.iter_rows(named=True):
        rule = BENCHMARKS[row["benchmark"]].rule
        for metric, value in zip(rule.metrics, rule.score(row["response"], row["answers"]), strict=True):
            scored.append({**{name: row[name] for name in _KEY}, "metric": metric, "value": value})
    return pl.DataFrame(scored).sort(*ItemScore.primary_key())


def aggregate_scores(item_scores: pl.DataFrame, *, samples: int, confidence: float, seed: int) -> pl.DataFrame:
    """Score rows: the mean of each language and the mean over languages (`avg`), with percentile intervals."""
    rows = []
    for keys, group in item_scores.group_by(*_MEASUREMENT, maintain_order=True):
        measurement = dict(zip(_MEASUREMENT, keys, strict=True))
        resampled = resample(group, samples=samples, seed=seed)
        for language, count in zip(resampled.languages, resampled.counts, strict=True):
            rows.append(measurement | _score_row(language, count, resampled.interval(language, confidence)))
        rows.append(measurement | _score_row(AVERAGE, sum(resampled.counts), resampled.average(confidence)))
    return pl.DataFrame(rows).sort(*Score.primary_key())


def check_complete(predictions: pl.DataFrame, expected: pl.DataFrame, where: str) -> None:
    """Every expected (benchmark, language, item) was answered exactly once.

    Raises:
        EvaluationFailed: with the numbers and the first ids.
    """
    missing = expected.join(predictions, on=ITEM_KEY, how="anti")
    extra = predictions.join(expected, on=ITEM_KEY, how="anti")
    if missing.height or extra.height or predictions.height != expected.height:
        raise EvaluationFailed(
            f"{where}: {predictions.height} predictions for {expected.height} items; {missing.height} items have none "
            f"(first {missing['item_id'].head(3).to_list()}), {extra.height} answer no item "
            f"(first {extra['item_id'].head(3).to_list()}). Delete the file and run the stage again"
        )


def _score_row(language: str, count: int, interval: Interval) -> dict[str, object]:
    bounds = {"value": interval.value, "ci_low": interval.low, "ci_high": interval.high}
    # a mean of values up to 100 may exceed 100 by rounding
    return {"language": language, "items": count, **{name: min(max(v, 0.0), 100.0) for name, v in bounds.items()}}
