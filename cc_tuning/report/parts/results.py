"""The main tables: every method on every benchmark, how it differs from its baseline, and what each run is."""

from collections.abc import Mapping, Sequence
from typing import Any

from cc_tuning.document.blocks import MISSING, Cell, Section, Table, count
from cc_tuning.evaluation.benchmark import METRICS
from cc_tuning.report.cells import (
    difference_cell,
    difference_table,
    measure_title,
    metric_title,
    score_table,
    variant_tags,
)
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import KIND_LABELS, OFF, PARALLEL, TRANSFORM, metric_named, metric_place
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure, Variant
from cc_tuning.training.objectives.table import OBJECTIVES

_RUNS = "What each row of the tables is: what it was trained for and on, and what it is held against."
_CONNECTION_NOTE = (
    "The same checkpoint, the same items, paired. The upper line tells what adding the transformed activations "
    "changes, the lower one what a real English prompt would add to that."
)
_DIFFERENCES_NOTE = (
    "Row minus baseline on the items that both answered. ▲ stands where it is clearly better, ▼ where it is clearly "
    "worse: where the interval excludes zero and the p value, adjusted for all the benchmarks of the row, is small "
    "enough."
)
_SEEDS = (
    "Where a method was trained with several seeds, a score is the mean over them, the score of an item being averaged "
    "first; below its interval stand the lowest and the highest seed, which tell how much a score moves with another "
    "training run. Seeds agree when their difference has the sign of the mean."
)
_MEASURES = (
    "Every other figure, each with its unit: of the answers under other rules, of the likelihood of given answers, and "
    "of what the answers look like whether right or wrong. Scores by language of all of them are in scores.csv."
)


def runs_part(evidence: Evidence) -> Section | None:
    """What each run is, in words; None when the recipe does not tell."""
    written = evidence.config.recipe.get("runs") or []
    specs = {str(run["name"]): run for run in written if isinstance(run, Mapping) and "name" in run}
    labels = {family.name: family.label for family in evidence.families}
    rows = [
        [
            Cell(family.label, family.name),
            _training(specs[family.name]),
            Cell(_data(specs[family.name])),
            Cell("yes" if specs[family.name].get("connected") else "no"),
            Cell(labels.get(family.baseline, MISSING)),
            Cell(_changes(specs[family.name])),
            Cell(" ".join(str(run.seed) for run in family.runs if run.seed is not None) or MISSING),
        ]
        for family in evidence.families
        if family.name in specs
    ]
    columns = ["run", "trained for", "trained on", "connected", "held against", "changes of the recipe", "seeds"]
    table = Table("runs", "", columns, rows, row_tags=[{"run": name} for name in labels if name in specs])
    return Section("runs", "Runs", [_RUNS], [table]) if rows else None


def results_part(evidence: Evidence) -> Section:
    """The averages over languages with their intervals, the differences to the baselines, and how to read them."""
    results = evidence.results
    if not results.measures:
        return Section("results", "Results", ["No evaluation was among the inputs of this report."])
    measures = results.headline_measures
    tables = [
        score_table("headline", "Scores", results, measures, note=_coverage_note(results)),
        difference_table("differences", "Differences to the baseline", results, measures, note=_DIFFERENCES_NOTE),
        _words_table(results),
        _connection_table(results, measures),
    ]
    paragraphs = [_method(results, measures), *([_SEEDS] if results.have_seeds else [])]
    return Section("results", "Results", paragraphs, [table for table in tables if table])


def measures_part(evidence: Evidence) -> Section | None:
    """One table for each other metric, by kind; None when there is no other."""
    results = evidence.results
    metrics = sorted({at.metric for at in results.measures} - {at.metric for at in results.headline_measures})
    tables: list[Table] = []
    for kind in KIND_LABELS:
        for metric in sorted((at for at in metrics if metric_named(at).kind == kind), key=metric_place):
            tables += _metric_tables(results, metric)
    return Section("measures", "Other measures", [_MEASURES], tables) if tables else None


def _metric_tables(results: Results, metric: str) -> list[Table]:
    """Scores of one metric and, where it is a likelihood, its differences; benchmarks are the columns."""
    measures = [measure for measure in results.measures if measure.metric == metric]
    known = metric_named(metric)
    title = f"{KIND_LABELS[known.kind]}: {metric_title(metric)}"
    scores = score_table(
        f"metric-{metric}", title, results, measures, note=known.sentence, is_folded=True, titled=_benchmark
    )
    if known.kind != "likelihood":
        return [scores]
    key = f"metric-{metric}-differences"
    differences = difference_table(
        key, f"{title}, differences", results, measures, note=_DIFFERENCES_NOTE, is_folded=True, titled=_benchmark
    )
    return [scores, differences] if differences else [scores]


def _words_table(results: Results) -> Table | None:
    """Every difference of the table above in a sentence that says what the items could have shown."""
    found = results.comparisons()
    rows = [
        [Cell(results.name_of(each.minuend)), Cell(measure_title(each.measure)), Cell(results.sentence(each))]
        for each in found
    ]
    tags = [variant_tags(each.minuend) for each in found]
    columns = ["method", "benchmark", "in words"]
    return Table("words", "Every difference in words", columns, rows, is_folded=True, row_tags=tags) if rows else None


def _benchmark(measure: Measure) -> str:
    return measure.benchmark


def _connection_table(results: Results, measures: Sequence[Measure]) -> Table | None:
    """What the Transform Matrix is worth: against no connection, and below the real English prompt."""
    rows = []
    for family in results.families:
        transform, off, parallel = (Variant(family.name, at) for at in (TRANSFORM, OFF, PARALLEL))
        for minuend, subtrahend, title in (
            (transform, off, "Transform Matrix − connection off"),
            (parallel, transform, "real English prompt − Transform Matrix"),
        ):
            differences = [results.comparison(minuend, subtrahend, measure) for measure in measures]
            if any(differences):
                rows.append([Cell(family.label, title), *map(difference_cell, differences)])
    columns = ["run", *map(measure_title, measures)]
    return Table("connection", "What the connection changes", columns, rows, _CONNECTION_NOTE) if rows else None


def _method(results: Results, measures: Sequence[Measure]) -> str:
    """How to read a cell of the main tables."""
    settings = results.bootstrap
    shown = {measure.metric for measure in measures}
    counted = " ".join(metric.sentence for name, metric in METRICS.items() if name in shown)
    return (
        f"{counted} Averages are over languages, each counting once. "
        f"In brackets the {settings.confidence:.0%} interval over items ({count(settings.samples)} resamples; an item "
        "with all its translations, or what shares a passage, is drawn as one); differences are paired by "
        "item. Intervals say how much a score would move with other items, not with another training run."
    )


def _coverage_note(results: Results) -> str:
    """Which scores rest on fewer items than the others; empty when none does."""
    partial = {
        f"{measure.benchmark} {results.connection_label(variant)} {count(own)} of {count(most)}"
        for variant in results.variants
        for measure in results.headline_measures
        for own, most in [results.coverage(variant, measure)]
        if 0 < own < most
    }
    return f"Fewer items than the others: {', '.join(sorted(partial))}." if partial else ""


def _training(run: Mapping[str, Any]) -> Cell:
    if checkpoint := run.get("checkpoint"):
        return Cell("trained elsewhere", " at ".join(filter(None, (checkpoint, run.get("revision")))))
    if not run.get("objective"):
        return Cell("not trained", "the base model as it is")
    objective = OBJECTIVES[run["objective"]]
    return Cell(f"{run['objective']}, {objective.trained}", objective.sentence)


def _data(run: Mapping[str, Any]) -> str:
    if not run.get("objective"):
        return MISSING
    data = run.get("data", "plain")
    return "pairs" if data == "plain" else f"pairs and +{str(data).upper()}"


def _changes(run: Mapping[str, Any]) -> str:
    changes = run.get("set") or {}
    return "\n".join(f"{key}: {value}" for key, value in sorted(changes.items())) or MISSING
