"""From predictions to scores per item, and from those to scores per language with intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from importlib.metadata import version

import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.benchmark import (
    ACCURACY,
    ACCURACY_ANY_DIGITS,
    ACCURACY_EXTRACTED,
    ANSWERED_IN_LANGUAGE,
    BEHAVIOUR,
    CHRF,
    CUT,
    EMPTY,
    EXACT_MATCH,
    EXTRACTED,
    F1,
    FOREIGN_WORDS,
    IN_LANGUAGE,
    MKQA_EM,
    MKQA_F1,
    REPEATS_PROMPT,
    ROUGE_L,
    ROUGE_L_ASCII,
    Benchmark,
    Metric,
)
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.evaluation.measures.behaviour import COPIED_RUN, COPIED_SHARE, is_empty, repeats_prompt
from cc_tuning.evaluation.measures.choices import extract_choice
from cc_tuning.evaluation.measures.language import JUDGED_LETTERS, LANGUAGES, has_foreign_word, is_in_language
from cc_tuning.evaluation.measures.mkqa import mkqa_exact_match, mkqa_f1
from cc_tuning.evaluation.measures.numbers import extract_number, gold_numbers
from cc_tuning.evaluation.measures.squad import squad_exact_match, squad_f1
from cc_tuning.evaluation.measures.summaries import chrf, rouge_l, rouge_l_ascii
from cc_tuning.evaluation.scales import SCALES, scale_of
from cc_tuning.evaluation.scorers import chooses_only, contains_gold
from cc_tuning.evaluation.statistics.intervals import Settings, mean_intervals
from cc_tuning.evaluation.statistics.tables import ScoreTable, score_table
from cc_tuning.evaluation.statistics.units import Sample, average_sample, language_sample
from cc_tuning.text.icu import ICU_VERSION
from data_contracts.schemas import ItemScore, Score

AVERAGE = "avg"
_KEY = ("run", "connection", *ITEM_KEY, "group", "cluster")
_MEASURED = ("response", "answers", "language", "choices", "prompt", "stopped")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response and what it is measured against."""

    benchmark: Benchmark
    response: str
    answers: Sequence[str]
    """The gold answers."""
    language: str = "en"
    """ISO 639-1, of the prompt."""
    choices: Sequence[str] | None = None
    """The texts of the options, in their order."""
    prompt: str = ""
    stopped: bool = True
    """Whether the model ended the answer by itself."""

    @cached_property
    def option(self) -> str | None:
        """The option that it chooses, where there are options to choose from."""
        return extract_choice(self.response, self.benchmark.options, self.choices).option

    @cached_property
    def number(self) -> Decimal | None:
        """The number that it gives, where one is asked for."""
        return extract_number(self.response, self.language)


Measure = Callable[[Answer], float | None]
"""A figure in the metric's unit; None where it cannot be told."""


def _accuracy(answer: Answer) -> float:
    if answer.benchmark.scoring == "only_option":
        return 100.0 * chooses_only(answer.response, answer.answers[0].strip(), answer.benchmark.options)
    return 100.0 * contains_gold(answer.response, answer.answers)


def _accuracy_extracted(answer: Answer) -> float:
    if answer.benchmark.options:
        return 100.0 * (answer.option == answer.answers[0].strip())
    return 100.0 * (answer.number is not None and answer.number in gold_numbers(answer.answers))


def _extracted(answer: Answer) -> float:
    return 100.0 * ((answer.option if answer.benchmark.options else answer.number) is not None)


def _answered_in_language(answer: Answer) -> float:
    return 100.0 * (not is_empty(answer.response) and is_in_language(answer.response, answer.language) is not False)


def _in_language(answer: Answer) -> float | None:
    verdict = is_in_language(answer.response, answer.language)
    return None if verdict is None else 100.0 * verdict


def _foreign_words(answer: Answer) -> float | None:
    verdict = has_foreign_word(answer.response, answer.language, answer.prompt)
    return None if verdict is None else 100.0 * verdict


_MEASURES: Mapping[Metric, Measure] = {
    ACCURACY: _accuracy,
    ACCURACY_EXTRACTED: _accuracy_extracted,
    ACCURACY_ANY_DIGITS: lambda answer: 100.0 * contains_gold(answer.response, answer.answers, any_digits=True),
    EXTRACTED: _extracted,
    EXACT_MATCH: lambda answer: squad_exact_match(answer.response, answer.answers),
    F1: lambda answer: squad_f1(answer.response, answer.answers),
    MKQA_EM: lambda answer: mkqa_exact_match(answer.response, answer.answers, answer.language),
    MKQA_F1: lambda answer: mkqa_f1(answer.response, answer.answers, answer.language),
    ROUGE_L_ASCII: lambda answer: rouge_l_ascii(answer.response, answer.answers),
    ROUGE_L: lambda answer: rouge_l(answer.response, answer.answers),
    CHRF: lambda answer: chrf(answer.response, answer.answers),
    ANSWERED_IN_LANGUAGE: _answered_in_language,
    IN_LANGUAGE: _in_language,
    FOREIGN_WORDS: _foreign_words,
    EMPTY: lambda answer: 100.0 * is_empty(answer.response),
    REPEATS_PROMPT: lambda answer: 100.0 * repeats_prompt(answer.response, answer.prompt, answer.answers),
    CUT: lambda answer: 100.0 * (not answer.stopped),
}


def score_response(
    benchmark: Benchmark,
    response: str,
    answers: Sequence[str],
    *,
    language: str = "en",
    choices: Sequence[str] | None = None,
) -> dict[str, float]:
    """The figure of each of the benchmark's own metrics, 0 to 100.

    `accuracy` is the paper's rule. `only_option`: right when the response contains the gold option and no other.
    `gold_contained`: right when a gold answer appears in the response.
    """
    answer = Answer(benchmark=benchmark, response=response, answers=answers, language=language, choices=choices)
    return _figures(benchmark.metrics, answer)


def score_predictions(predictions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """ItemScore rows: every prediction under each metric of its benchmark, and what it looks like where it was written.

    A figure that cannot be told (the language of a short answer) has no row.

    Raises:
        EvaluationFailed: a prediction answers no item.
    """
    answered = predictions.join(
        items.select(*ITEM_KEY, "prompt", "answers", "choices", "group", "cluster"),
        on=ITEM_KEY,
        how="left",
        validate="m:1",
        maintain_order="left",
    )
    if unknown := answered.filter(pl.col("answers").is_null())["item_id"].to_list():
        raise EvaluationFailed(f"{len(unknown)} predictions answer no item, first {unknown[:3]}; run the stage again")
    rows, metrics, values = list[int](), list[str](), list[float]()
    for index, row in enumerate(answered.iter_rows(named=True)):
        benchmark = BENCHMARKS[row["benchmark"]]
        answer = Answer(benchmark=benchmark, **{name: row[name] for name in _MEASURED})
        looks = BEHAVIOUR if benchmark.request == "generate" else ()
        for name, value in _figures((*benchmark.metrics, *looks), answer).items():
            rows.append(index)
            metrics.append(name)
            values.append(value)
    scored = answered.select(_KEY)[rows].with_columns(
        pl.Series("metric", metrics, dtype=pl.String), pl.Series("value", values, dtype=pl.Float64)
    )
    return scored.select(ItemScore.column_names()).sort(*ItemScore.primary_key())


def measured_with() -> dict[str, str]:
    """What decides the figures beside the answers, by metric: tokenizers, signatures, versions."""
    rouge = f"rouge_score {version('rouge_score')}"
    return {
        ROUGE_L.name: f"{rouge}, NFKC, lower case, ICU {ICU_VERSION} word break",
        ROUGE_L_ASCII.name: f"{rouge}, its own tokenizer (ASCII letters and digits)",
        CHRF.name: f"sacrebleu {version('sacrebleu')}, characters to 6, words to 2, each item alone",
        IN_LANGUAGE.name: f"py3langid {version('py3langid')}, of {len(LANGUAGES)} languages and the prompt's own, from "
        f"{JUDGED_LETTERS} letters on",
        REPEATS_PROMPT.name: f"ICU {ICU_VERSION} words, runs of {COPIED_RUN}, from {COPIED_SHARE:.0%} of the answer on",
    }


def _figures(metrics: Sequence[Metric], answer: Answer) -> dict[str, float]:
    figures = {metric.name: _MEASURES[metric](answer) for metric in metrics}
    return {name: value for name, value in figures.items() if value is not None}


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
