"""The main table: every method on every benchmark, and what the connection changes."""

from cc_tuning.document.blocks import Cell, Section, Table, count
from cc_tuning.evaluation.benchmark import METRICS
from cc_tuning.report.cells import difference_cell, measure_title, score_table
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import OFF, PARALLEL, TRANSFORM
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Variant

_CONNECTION_NOTE = (
    "The same checkpoint, the same items, paired. The upper line tells what adding the transformed activations "
    "changes, the lower one what a real English prompt would add to that."
)
_SEEDS = (
    "Where a method was trained with several seeds, a score is the mean over them, the score of an item being averaged "
    "first; below its interval stand the lowest and the highest seed, which tell how much a score moves with another "
    "training run. Seeds agree when their difference has the sign of the mean."
)


def results_part(evidence: Evidence) -> Section:
    """The averages over languages with their intervals and differences, and how to read them."""
    results = evidence.results
    if not results.measures:
        return Section("results", "Results", ["No evaluation was among the inputs of this report."])
    headline = score_table("headline", "", results, note=_headline_note(results))
    connection = _connection_table(results)
    paragraphs = [_method(results), *([_SEEDS] if results.have_seeds else [])]
    return Section("results", "Results", paragraphs, [headline, *([connection] if connection else [])])


def _connection_table(results: Results) -> Table | None:
    """What the Transform Matrix is worth: against no connection, and below the real English prompt."""
    rows = []
    for family in results.families:
        transform, off, parallel = (Variant(family.name, at) for at in (TRANSFORM, OFF, PARALLEL))
        for minuend, subtrahend, title in (
            (transform, off, "Transform Matrix − connection off"),
            (parallel, transform, "real English prompt − Transform Matrix"),
        ):
            differences = [results.comparison(minuend, subtrahend, measure) for measure in results.measures]
            if any(differences):
                rows.append([Cell(family.label, title), *map(difference_cell, differences)])
    columns = ["run", *map(measure_title, results.measures)]
    return Table("connection", "What the connection changes", columns, rows, _CONNECTION_NOTE) if rows else None


def _method(results: Results) -> str:
    """How to read a cell of the main table."""
    settings = results.bootstrap
    return (
        f"{_what_is_counted(results)} Averages are over languages, each counting once. "
        f"In brackets the {settings.confidence:.0%} interval of a percentile bootstrap over items with "
        f"{count(settings.samples)} resamples, the translations of one item drawn together; differences are paired by "
        "item. Intervals say how much a score would move with other items, not with another training run."
    )


def _what_is_counted(results: Results) -> str:
    shown = {measure.metric for measure in results.measures}
    return " ".join(metric.sentence for name, metric in METRICS.items() if name in shown)


def _headline_note(results: Results) -> str:
    against = [
        f"{family.label} against {results.family(family.baseline).label}"
        for family in results.families
        if family.baseline
    ]
    sentences = []
    if against:
        sentences.append(f"Δ is the difference in points, {'; '.join(against)}.")
        sentences.append("▲ or ▼ takes its place where the interval of the difference excludes zero.")
    partial = {
        f"{measure.benchmark} {results.connection_label(variant)} {count(own)} of {count(most)}"
        for variant in results.variants
        for measure in results.measures
        for own, most in [results.coverage(variant, measure)]
        if 0 < own < most
    }
    if partial:
        sentences.append(f"Fewer items than the others: {', '.join(sorted(partial))}.")
    return " ".join(sentences)
