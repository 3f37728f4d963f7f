"""Tables of scores. Every number comes from a `Results`; nothing is computed twice."""

from cc_tuning.document.blocks import MISSING, Cell, Table, Tone, count, number, numeric
from cc_tuning.report.names import (
    AVERAGE,
    baseline_run,
    connection_label,
    group_label,
    has_connection,
    language_label,
    metric_label,
    run_label,
)
from cc_tuning.report.paper import published_average
from cc_tuning.report.results import Difference, Estimate, Measure, Results, Variant

_CONNECTION_NOTE = (
    "The same checkpoint, the same items, paired. The upper line tells what adding the transformed activations "
    "changes, the lower one what a real English prompt would add to that."
)


_ROUNDING = 1e-9
_UNBROKEN = "\u00a0"
_DELTA = f"Δ{_UNBROKEN}"
_ARROWS: dict[Tone, str] = {"better": f"▲{_UNBROKEN}", "worse": f"▼{_UNBROKEN}", "": ""}
_SCORE_FIELDS = (
    "run", "connection", "benchmark", "language", "metric", "items", "value", "ci_low", "ci_high",
    "baseline", "difference", "difference_low", "difference_high",
)  # fmt: skip


def headline_table(results: Results) -> Table:
    """Method by benchmark: average over languages with its interval, and the difference to the baseline."""
    rows = [
        [_variant_cell(variant), *(_headline_cell(results, variant, measure) for measure in results.measures)]
        for variant in results.variants
    ]
    return Table("headline", "", ["method", *map(_column, results.measures)], rows, _headline_note(results))


def connection_table(results: Results) -> Table | None:
    """What the Transform Matrix is worth: against no connection, and below the real English prompt."""
    rows = []
    for run in results.connected_runs:
        transform = Variant(run, "transform")
        for minuend, subtrahend, title in (
            (transform, Variant(run, "off"), "Transform Matrix − connection off"),
            (Variant(run, "parallel"), transform, "real English prompt − Transform Matrix"),
        ):
            differences = [results.difference(minuend, subtrahend, measure) for measure in results.measures]
            if any(differences):
                rows.append([Cell(run_label(run), title), *map(_difference_cell, differences)])
    columns = ["run", *map(_column, results.measures)]
    return Table("connection", "What the connection changes", columns, rows, _CONNECTION_NOTE) if rows else None


def language_table(results: Results, measure: Measure) -> Table:
    """One benchmark: method by language."""
    languages = results.languages(measure)
    rows = [
        [_variant_cell(variant), *(_score_cell(results.score(variant, measure, at)) for at in (*languages, AVERAGE))]
        for variant in results.variants_of(measure)
    ]
    columns = ["method", *map(language_label, languages), "average"]
    key = f"{measure.benchmark}-{measure.metric}".lower()
    return Table(key, f"{measure.benchmark}, {metric_label(measure.metric)}", columns, rows, is_folded=True)


def group_tables(results: Results) -> list[Table]:
    """The main table once more for the items of each group apart; empty when no item has a group."""
    tables = []
    for place, group in enumerate(results.groups):
        rows = [
            [_variant_cell(variant), *(_group_cell(results, variant, measure, group) for measure in results.measures)]
            for variant in results.variants
        ]
        tables.append(Table(f"group-{place}", group_label(group), ["method", *map(_column, results.measures)], rows))
    return tables


def paper_table(results: Results, model: str) -> Table | None:
    """Our averages beside those the paper prints for `model`; None when no run and benchmark are in both."""
    measures = [measure for measure in results.measures if _is_published(model, measure, results)]
    rows = []
    for variant in results.variants:
        printed = [_published(model, variant, measure) for measure in measures]
        if any(value is not None for value in printed):
            cells = [
                _paper_cell(results.score(variant, measure, AVERAGE), value)
                for measure, value in zip(measures, printed, strict=True)
            ]
            rows.append([Cell(run_label(variant.run)), *cells])
    return Table("paper", "", ["method", *map(_column, measures)], rows) if rows else None


def scores_csv(results: Results) -> str:
    """Every score as comma-separated text, averages with their difference to the baseline."""
    lines = [",".join(_SCORE_FIELDS)]
    for row in results.scores.iter_rows(named=True):
        variant, measure = Variant(row["run"], row["connection"]), Measure(row["benchmark"], row["metric"])
        fields = [row["run"], row["connection"], row["benchmark"], row["language"], row["metric"], str(row["items"])]
        fields += [f"{row[name]:.4f}" for name in ("value", "ci_low", "ci_high")]
        difference = results.baseline_difference(variant, measure) if row["language"] == AVERAGE else None
        fields += _difference_fields(difference)
        lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def _difference_fields(difference: Difference | None) -> list[str]:
    if difference is None:
        return ["", "", "", ""]
    numbers = (difference.value, difference.low, difference.high)
    return [difference.subtrahend.run, *(f"{value:.4f}" for value in numbers)]


def _headline_cell(results: Results, variant: Variant, measure: Measure) -> Cell:
    return _compared_cell(results.score(variant, measure), results.baseline_difference(variant, measure))


def _group_cell(results: Results, variant: Variant, measure: Measure, group: str) -> Cell:
    estimate = results.group_score(variant, measure, group)
    return _compared_cell(estimate, results.baseline_difference(variant, measure, group))


def _compared_cell(estimate: Estimate | None, difference: Difference | None) -> Cell:
    if estimate is None or difference is None:
        return _score_cell(estimate)
    change = f"{_ARROWS[_tone(difference)] or _DELTA}{_signed(difference.value)}\n{_signed_interval(difference)}"
    return numeric(_points(estimate.value), _interval(estimate), change, _tone(difference))


def _headline_note(results: Results) -> str:
    pairs = {run_label(run): baseline_run(run, results.runs) for run in results.runs}
    sentences = []
    if any(pairs.values()):
        named = "; ".join(f"{run} against {run_label(baseline)}" for run, baseline in pairs.items() if baseline)
        sentences.append(f"Δ is the difference in points, {named}.")
        sentences.append("▲ or ▼ takes its place where the interval of the difference excludes zero.")
    partial = {
        f"{measure.benchmark} {connection_label(variant.run, variant.connection)} {count(own)} of {count(most)}"
        for variant in results.variants
        for measure in results.measures
        for own, most in [results.coverage(variant, measure)]
        if 0 < own < most
    }
    if partial:
        sentences.append(f"Fewer items than the others: {', '.join(sorted(partial))}.")
    return " ".join(sentences)


def _score_cell(estimate: Estimate | None) -> Cell:
    return numeric(MISSING) if estimate is None else numeric(_points(estimate.value), _interval(estimate))


def _difference_cell(difference: Difference | None) -> Cell:
    if difference is None:
        return numeric(MISSING)
    arrow = _ARROWS[_tone(difference)]
    return numeric(arrow + _signed(difference.value), _signed_interval(difference), tone=_tone(difference))


def _paper_cell(estimate: Estimate | None, printed: float | None) -> Cell:
    ours = MISSING if estimate is None else number(estimate.value)
    return numeric(ours, f"paper {number(printed)}")


def _published(model: str, variant: Variant, measure: Measure) -> float | None:
    # The paper prints CC-Tuning with the Transform Matrix and the baselines without anything.
    if variant.connection != ("transform" if has_connection(variant.run) else "off"):
        return None
    return published_average(model, measure.benchmark, variant.run, measure.metric)


def _is_published(model: str, measure: Measure, results: Results) -> bool:
    return any(_published(model, variant, measure) is not None for variant in results.variants)


def _variant_cell(variant: Variant) -> Cell:
    return Cell(run_label(variant.run), connection_label(variant.run, variant.connection))


def _column(measure: Measure) -> str:
    return measure.benchmark if measure.metric == "accuracy" else f"{measure.benchmark} {metric_label(measure.metric)}"


def _points(value: float) -> str:
    return number(value, decimals=1)


def _interval(estimate: Estimate) -> str:
    return f"[{_points(estimate.low)},{_UNBROKEN}{_points(estimate.high)}]"


def _signed_interval(difference: Difference) -> str:
    return f"[{_signed(difference.low)},{_UNBROKEN}{_signed(difference.high)}]"


def _signed(value: float) -> str:
    return number(value, decimals=1, sign="+")


def _tone(difference: Difference) -> Tone:
    # Percentiles of resampled means carry rounding of about 1e-14; that is no difference.
    if difference.low > _ROUNDING:
        return "better"
    return "worse" if difference.high < -_ROUNDING else ""
