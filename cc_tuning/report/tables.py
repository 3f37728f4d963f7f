"""Tables of scores. Every number comes from a `Results`; nothing is computed twice."""

from collections.abc import Sequence

from cc_tuning.report.document import MISSING, Cell, Table, Tone, count, number, numeric
from cc_tuning.report.names import AVERAGE, connection_label, language_label, metric_label, run_label
from cc_tuning.report.paper import published_average
from cc_tuning.report.results import Difference, Estimate, Measure, Results, Variant


def headline_table(results: Results) -> Table:
    """Method by benchmark: average over languages with its interval, and the difference to the baseline."""
    rows = [
        [_variant_cell(variant), *(_headline_cell(results, variant, measure) for measure in results.measures)]
        for variant in results.variants
    ]
    return Table("headline", "", ["method", *map(_column, results.measures)], rows, _headline_note(results))


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


def group_table(results: Results) -> Table | None:
    """Scores of the items of each group, averaged over languages; None when no item has a group."""
    groups = results.groups
    if not groups:
        return None
    rows = []
    for measure in results.measures:
        for variant in results.variants_of(measure):
            estimates = [results.group_estimate(variant, measure, group) for group in groups]
            if any(estimates):
                rows.append([Cell(_column(measure)), _variant_cell(variant), *map(_score_cell, estimates)])
    return Table("groups", "", ["benchmark", "method", *groups], rows)


def paper_table(results: Results, model: str) -> Table | None:
    """Our averages beside those the paper prints for `model`; None when no run and benchmark are in both."""
    measures = [measure for measure in results.measures if any(_published(model, v, measure) for v in results.variants)]
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
    header = "run,connection,benchmark,language,metric,items,value,ci_low,ci_high,baseline,difference,difference_low,difference_high"
    lines = [header]
    for row in results.scores.iter_rows(named=True):
        variant, measure = Variant(row["run"], row["connection"]), Measure(row["benchmark"], row["metric"])
        fields = [row["run"], row["connection"], row["benchmark"], row["language"], row["metric"], str(row["items"])]
        fields += [f"{row[name]:.4f}" for name in ("value", "ci_low", "ci_high")]
        difference = results.differences.get((variant, measure)) if row["language"] == AVERAGE else None
        fields += _difference_fields(difference)
        lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def difference_text(difference: Difference) -> str:
    """`▲ +2.10 [+0.40, +3.85]`; the arrow stands only where the interval excludes zero."""
    arrow = {"better": "▲ ", "worse": "▼ ", "": ""}[_tone(difference)]
    return f"{arrow}{_signed(difference.value)} [{_signed(difference.low)}, {_signed(difference.high)}]"


def _difference_fields(difference: Difference | None) -> list[str]:
    if difference is None:
        return ["", "", "", ""]
    return [difference.baseline, *(f"{value:.4f}" for value in (difference.value, difference.low, difference.high))]


def _headline_cell(results: Results, variant: Variant, measure: Measure) -> Cell:
    estimate = results.score(variant, measure, AVERAGE)
    difference = results.differences.get((variant, measure))
    if estimate is None:
        return numeric(MISSING)
    if difference is None:
        return numeric(number(estimate.value), _interval(estimate))
    return numeric(number(estimate.value), _interval(estimate), difference_text(difference), _tone(difference))


def _headline_note(results: Results) -> str:
    parts = []
    baselines = {variant.run: d.baseline for (variant, _), d in results.differences.items()}
    for run, baseline in baselines.items():
        parts.append(f"{run_label(run)} against {run_label(baseline)}")
    text = f"Third line of a cell: difference, {'; '.join(parts)}. " if parts else ""
    text += "▲ or ▼ stands where the interval of the difference excludes zero. " if parts else ""
    partial = [
        f"{measure.benchmark} {count(own)} of {count(full)}"
        for measure in results.measures
        for own, full in [results.parallel_coverage(measure)]
        if own < full
    ]
    if partial:
        text += f"Items with a real English prompt, where fewer than all: {', '.join(dict.fromkeys(partial))}."
    return text.strip()


def _score_cell(estimate: Estimate | None) -> Cell:
    return numeric(MISSING) if estimate is None else numeric(number(estimate.value), _interval(estimate))


def _paper_cell(estimate: Estimate | None, printed: float | None) -> Cell:
    ours = MISSING if estimate is None else number(estimate.value)
    return numeric(ours, f"paper {number(printed)}")


def _published(model: str, variant: Variant, measure: Measure) -> float | None:
    is_published_way = variant.connection in ("off" if variant.run.startswith("ml-sft") else "transform",)
    return published_average(model, measure.benchmark, variant.run, measure.metric) if is_published_way else None


def _variant_cell(variant: Variant) -> Cell:
    return Cell(run_label(variant.run), connection_label(variant.run, variant.connection))


def _column(measure: Measure) -> str:
    return measure.benchmark if measure.metric == "accuracy" else f"{measure.benchmark} {metric_label(measure.metric)}"


def _interval(estimate: Estimate) -> str:
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _tone(difference: Difference) -> Tone:
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else ""
