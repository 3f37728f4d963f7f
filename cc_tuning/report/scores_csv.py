"""Every score of a report as comma-separated text."""

import csv
import io
from collections.abc import Iterator, Sequence

from cc_tuning.report.names import AVERAGE
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Comparison, Estimate, Measure

FIELDS = (
    "run", "connection", "benchmark", "language", "metric", "items", "value", "ci_low", "ci_high",
    "baseline", "difference", "difference_low", "difference_high", "seeds", "seeds_low", "seeds_high", "seeds_agree",
)  # fmt: skip


def scores_csv(results: Results) -> str:
    """Every score, sorted; an average has the difference to its baseline.

    A row is a family: with several seeds, their mean, the lowest and the highest of them, and how many have a
    difference of the sign of the mean. `seeds` names the seeds behind a row. The rows of the single runs of such a
    family follow under the names of the runs.
    """
    rows = sorted([*_family_rows(results), *_run_rows(results)], key=lambda row: (*row[:3], row[4], row[3]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([FIELDS, *rows])
    return text.getvalue()


def _family_rows(results: Results) -> Iterator[list[str]]:
    for variant in results.variants:
        family = results.family(variant.family)
        seeds = " ".join(str(run.seed) for run in family.runs if run.seed is not None)
        for measure in results.measures:
            difference = results.baseline_comparison(variant, measure)
            for language in (*results.languages(measure), AVERAGE):
                if estimate := results.score(variant, measure, language):
                    yield [
                        *_score(family.name, variant.connection, measure, language, estimate),
                        *_difference(difference if language == AVERAGE else None),
                        *_seeds(seeds, estimate, difference if language == AVERAGE else None),
                    ]


def _run_rows(results: Results) -> Iterator[list[str]]:
    for variant in results.variants:
        runs = results.family(variant.family).runs
        for run in runs if len(runs) > 1 else ():
            for measure in results.measures:
                for language in (*results.languages(measure), AVERAGE):
                    if estimate := results.run_score(run.name, variant.connection, measure, language):
                        score = _score(run.name, variant.connection, measure, language, estimate)
                        yield [*score, *_difference(None), *_seeds(str(run.seed), estimate, None)]


def _score(name: str, connection: str, measure: Measure, language: str, estimate: Estimate) -> list[str]:
    numbers = [f"{value:.4f}" for value in (estimate.value, estimate.low, estimate.high)]
    return [name, connection, measure.benchmark, language, measure.metric, str(estimate.items), *numbers]


def _difference(difference: Comparison | None) -> Sequence[str]:
    if difference is None:
        return ["", "", "", ""]
    numbers = (difference.value, difference.low, difference.high)
    return [difference.subtrahend.family, *(f"{value:.4f}" for value in numbers)]


def _seeds(seeds: str, estimate: Estimate, difference: Comparison | None) -> Sequence[str]:
    if len(estimate.by_seed) < 2:
        return [seeds, "", "", ""]
    agree = "" if difference is None else str(difference.seeds_that_agree)
    return [seeds, f"{min(estimate.by_seed):.4f}", f"{max(estimate.by_seed):.4f}", agree]
