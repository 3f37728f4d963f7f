"""The first screen: a verdict in words, and one picture of every difference to a baseline.

Words and picture are made from the same comparisons as the tables. What a reader may take away stands first: what is
clearly better or worse, and on how many benchmarks nothing can be said.
"""

from collections.abc import Sequence

from cc_tuning.document.blocks import Figure, Section, number
from cc_tuning.document.dots import MARKS, Dot, Row, draw_dots
from cc_tuning.report.cells import measure_title, variant_title
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import (
    CONNECTION_LABELS,
    DECIMALS,
    OFF,
    TRANSFORM,
    UNIT_LABELS,
    listed,
    metric_label,
    metric_named,
)
from cc_tuning.report.parts.heat_map import heat_maps
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Comparison, Measure, Variant
from cc_tuning.report.sentences import is_showable

_SENSITIVE = "gold_nll"
"""The metric with a picture of its own: it moves with every item, where few answers change."""


def summary_part(evidence: Evidence) -> Section | None:
    """A sentence for each method, the picture of all differences, and a heat map; None when nothing was measured."""
    results = evidence.results
    measures = results.headline_measures
    if not measures:
        return None
    likelihoods = [measure for measure in results.measures if measure.metric == _SENSITIVE]
    figures = [
        _dot_figure(results, measures, "differences", "Difference to the baseline"),
        _dot_figure(results, likelihoods, "likelihood-differences", "Difference in the likelihood of the gold answers"),
    ]
    blocks = [figure for figure in figures if figure]
    return Section("short", "In short", verdicts(results), [*blocks, *heat_maps(results, measures)[:1]])


def verdicts(results: Results) -> list[str]:
    """One sentence for each method that is held against another, in the mode that it is made for."""
    sentences = []
    for family in results.families:
        variant = main_variant(results, family.name)
        baseline = results.baseline_of(variant) if variant else None
        if variant and baseline and (found := results.comparisons([(variant, baseline)])):
            sentences.append(_verdict(results, found))
    if sentences:
        return sentences
    return ["No run is held against another, so nothing is compared; the scores are in the tables below."]


def main_variant(results: Results, family: str) -> Variant | None:
    """The mode that a family is made for: its Transform Matrix, or no connection; None when it has neither."""
    wanted = (Variant(family, TRANSFORM), Variant(family, OFF))
    return next((variant for variant in wanted if variant in results.variants), None)


def _verdict(results: Results, found: Sequence[Comparison]) -> str:
    """What is clear of one method against its baseline, and where nothing can be said."""
    title, baseline = results.name_of(found[0].minuend), results.name_of(found[0].subtrahend)
    clear = {
        verdict: [_named(each) for each in found if each.verdict == verdict] for verdict in ("better", "worse")
    }  # fmt: skip
    undecided = [each for each in found if each.verdict == "undecided"]
    where = _all_of([each.measure.benchmark for each in undecided], len(found))
    nothing = f"on {where} nothing can be said{_showable(undecided)}"
    parts = [f"clearly {verdict} on {listed(names)}" for verdict, names in clear.items() if names]
    if not parts:
        return f"{title} against {baseline}: {nothing}."
    return f"{title} is {', '.join(parts)}, held against {baseline}{f'; {nothing}' if undecided else ''}."


def _showable(undecided: Sequence[Comparison]) -> str:
    """How large a difference would have had to be, or that none would have been large enough."""
    sizes = sorted(each.smallest_showable for each in undecided if is_showable(each))
    ends = dict.fromkeys(number(size, 1) for size in (*sizes[:1], *sizes[-1:]))
    if not ends:
        return ", these items could show no difference, however large" if undecided else ""
    others = "" if len(sizes) == len(undecided) else ", and none elsewhere"
    return f", these items could show {' to '.join(ends)} points{others}"


def _all_of(names: Sequence[str], total: int) -> str:
    return f"all {total} benchmarks" if len(names) == total > 1 else listed(names) if names else ""


def _named(comparison: Comparison) -> str:
    return f"{comparison.measure.benchmark} ({number(comparison.value, 1, '+')} points)"


def _dot_figure(results: Results, measures: Sequence[Measure], key: str, title: str) -> Figure | None:
    """Every variant's differences, a panel for each benchmark; None when nothing is compared."""
    rows, words = [], []
    for variant in results.variants:
        baseline = results.baseline_of(variant)
        found = results.comparisons([(variant, baseline)], measures) if baseline else ()
        if baseline and found:
            label = f"{variant_title(results, variant)} − {results.family(baseline.family).label}"
            of_measure = {each.measure: each for each in found}
            series = list(CONNECTION_LABELS).index(variant.connection)
            rows.append(Row(label, series, [_dot(of_measure.get(measure)) for measure in measures]))
            words.append(f"{label}: {', '.join(map(_in_words, found))}.")
    if not rows:
        return None
    shown = list(dict.fromkeys(row.series for row in rows))
    titles = list(map(_panel_title, measures))
    drawn = draw_dots(titles, rows, _decimals(measures[0]))
    return Figure(key, title, " ".join(words), drawn, _caption(results, measures[0], shown), is_wide=True)


def _dot(comparison: Comparison | None) -> Dot | None:
    if comparison is None:
        return None
    return Dot(comparison.value, comparison.low, comparison.high, comparison.verdict != "undecided")


def _panel_title(measure: Measure) -> str:
    return measure.benchmark if measure.metric == _SENSITIVE else measure_title(measure)


def _caption(results: Results, measure: Measure, series: Sequence[int]) -> str:
    metric = metric_named(measure.metric)
    percent = "points" if metric.unit == "percent" else UNIT_LABELS[metric.unit]
    direction = "higher is better" if metric.is_higher_better else f"lower is better; {metric_label(metric.name)}"
    labels = list(CONNECTION_LABELS.values())
    legend = ", ".join(f"{MARKS[at]}: {labels[at]}" for at in sorted(series))
    return (
        f"Row minus baseline in {percent} ({direction}) with its {results.bootstrap.confidence:.0%} interval; every "
        "panel has a scale of its own. A filled mark is a clear difference, a hollow one is none that these items can "
        f"tell from chance. Marks: {legend}."
    )


def _in_words(comparison: Comparison) -> str:
    value, low, high = (
        number(at, _decimals(comparison.measure), "+") for at in (comparison.value, comparison.low, comparison.high)
    )
    return f"{comparison.measure.benchmark} {value} ({low} to {high})"


def _decimals(measure: Measure) -> int:
    return DECIMALS[metric_named(measure.metric).unit]
