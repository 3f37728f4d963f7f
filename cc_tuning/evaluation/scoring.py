"""From predictions to scores per item, and from those to scores per language with intervals."""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.benchmark import Benchmark, ScoringName
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.evaluation.rouge import rouge_l, rouge_l_ascii
from cc_tuning.evaluation.scorers import chooses_only, contains_gold
from cc_tuning.evaluation.statistics import Interval, resample
from data_contracts.schemas import ItemScore, Score

AVERAGE = "avg"
_KEY = ("run", "connection", *ITEM_KEY, "group", "cluster")
_MEASUREMENT = ("run", "connection", "benchmark", "metric")

Rule = Callable[[str, Sequence[str], Sequence[str]], tuple[float, ...]]
"""From response, gold answers and the benchmark's options to a figure for each of its metrics, 0 to 100."""


def _only_option(response: str, answers: Sequence[str], options: Sequence[str]) -> tuple[float, ...]:
    return (100.0 * chooses_only(response, answers[0].strip(), options),)


def _gold_contained(response: str, answers: Sequence[str], options: Sequence[str]) -> tuple[float, ...]:
    return (100.0 * contains_gold(response, answers),)


def _summary_overlap(response: str, answers: Sequence[str], options: Sequence[str]) -> tuple[float, ...]:
    return rouge_l_ascii(response, answers), rouge_l(response, answers)


_RULES: Mapping[ScoringName, Rule] = {
    "only_option": _only_option,
    "gold_contained": _gold_contained,
    "summary_overlap": _summary_overlap,
}


def score_response(benchmark: Benchmark, response: str, answers: Sequence[str]) -> dict[str, float]:
    """The figure of each metric, 0 to 100.

    `only_option`: right when the response contains the gold option and no other. `gold_contained`: right when a gold
    answer appears in the response. `summary_overlap`: ROUGE-L with the paper's tokenizer and with one for every script.
    """
    figures = _RULES[benchmark.scoring](response, answers, benchmark.options)
    return {metric.name: value for metric, value in zip(benchmark.metrics, figures, strict=True)}


def score_predictions(predictions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """ItemScore rows: every prediction under each metric of its benchmark.

    Raises:
        EvaluationFailed: a prediction answers no item.
    """
    answered = predictions.join(
        items.select(*ITEM_KEY, "answers", "group", "cluster"),
        on=ITEM_KEY,
        how="left",
        validate="m:1",
        maintain_order="left",
    )
    if unknown := answered.filter(pl.col("answers").is_null())["item_id"].to_list():
        raise EvaluationFailed(f"{len(unknown)} predictions answer no item, first {unknown[:3]}; run the stage again")
    scored = []
    for row in answered.iter_rows(named=True):
        figures = score_response(BENCHMARKS[row["benchmark"]], row["response"], row["answers"])
        for metric, value in figures.items():
            scored.append({**{name: row[name] for name in _KEY}, "metric": metric, "value": value})
    columns = {"group": pl.String, "cluster": pl.String}
    return pl.DataFrame(scored, schema_overrides=columns).sort(*ItemScore.primary_key())


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


def _score_row(language: str, count: int, interval: Interval) -> dict[str, object]:
    bounds = {"value": interval.value, "ci_low": interval.low, "ci_high": interval.high}
    # a mean of values up to 100 may exceed 100 by rounding
    return {"language": language, "items": count, **{name: min(max(v, 0.0), 100.0) for name, v in bounds.items()}}
