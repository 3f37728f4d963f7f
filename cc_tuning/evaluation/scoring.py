"""From predictions to scores per item, and from those to scores per language with intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.benchmark import Benchmark, ScoringName
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.evaluation.rouge import rouge_l, rouge_l_ascii
from cc_tuning.evaluation.scales import SCALES, scale_of
from cc_tuning.evaluation.scorers import chooses_only, contains_gold
from cc_tuning.evaluation.statistics.intervals import Settings, mean_intervals
from cc_tuning.evaluation.statistics.tables import ScoreTable, score_table
from cc_tuning.evaluation.statistics.units import Sample, average_sample, language_sample
from data_contracts.schemas import ItemScore, Score

AVERAGE = "avg"
_KEY = ("run", "connection", *ITEM_KEY, "group", "cluster")

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
    """Score rows: the mean of each language and the mean over languages (`avg`), with their intervals."""
    settings = Settings(samples, confidence, seed)
    scores = item_scores.with_columns(pl.col("benchmark", "connection").cast(pl.String))
    rows: list[dict[str, object]] = []
    for (benchmark,), of_benchmark in scores.group_by("benchmark", maintain_order=True):
        table = score_table(of_benchmark, ("run", "connection", "metric"))
        samples_by_language = {
            language: language_sample(table.values, table.cells, place)
            for place, language in enumerate(table.cells.languages)
        }
        for language, sample in {**samples_by_language, AVERAGE: average_sample(table.values, table.cells)}.items():
            rows += [
                {"benchmark": benchmark, "language": language, **row} for row in _score_rows(table, sample, settings)
            ]
    return pl.DataFrame(rows).sort(*Score.primary_key())


def _score_rows(table: ScoreTable, sample: Sample, settings: Settings) -> Iterator[dict[str, object]]:
    """One row for each measurement that has an item in this sample."""
    for scale in SCALES.values():
        places = [
            (key, place) for key, place in table.columns.items() if sample.cells[place] and scale_of(key[2]) == scale
        ]
        if not places:
            continue
        measured = sample.measurements([place for _, place in places])
        lows, highs = mean_intervals(measured, scale.bounds, settings)
        for at, ((run, connection, metric), _) in enumerate(places):
            yield {
                "run": run, "connection": connection, "metric": metric, "items": int(measured.cells[at]),
                "value": float(measured.value[at]), "ci_low": float(lows[at]), "ci_high": float(highs[at]),
            }  # fmt: skip
