"""The first screen: a verdict in words, and one picture of every difference to a baseline.

Words and picture are made from the same differences as the tables. What a reader may take away stands first: what is
clearly better or worse, and on how many benchmarks nothing can be said.
"""

from collections.abc import Sequence

from cc_tuning.document.blocks import Figure, Section, number
from cc_tuning.document.dots import Dot, Row, draw_dots
from cc_tuning.report.cells import headline_measures, measure_title, tone_of, variant_title
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
from cc_tuning.report.scores import Difference, Measure, Variant

_SENSITIVE = "gold_nll"


def summary_part(evidence: Evidence) -> Section | None:
    """A sentence for each method, the picture of all differences, and a heat map; None when nothing was measured."""
    results = evidence.results
    measures = headline_measures(results)
    if not measures:
        return None
    figures = [_dot_figure(results, measures, "differences", "")]
    likelihoods = [measure for measure in results.measures if measure.metric == _SENSITIVE]
    figures += [_dot_figure(results, likelihoods, "likelihood-differences", _SENSITIVE)] if likelihoods else []
    blocks = [figure for figure in figures if figure]
    return Section("short", "In short", verdicts(results, measures), [*blocks, *heat_maps(results, measures)[:1]])


def verdicts(results: Results, measures: Sequence[Measure]) -> list[str]:
    """One sentence for each method that is held against another, in the mode that it is made for."""
    sentences = [
        _verdict(results, variant, measures)
        for family in results.families
        if family.baseline and (variant := main_variant(results, family.name))
    ]
    return [sentence for sentence in sentences if sentence] or [
        "No run is held against another, so nothing is compared; the scores are in the tables below."
    ]


def main_variant(results: Results, family: str) -> Variant | None:
    """The mode that a family is made for: its Transform Matrix, or no connection; None when it has neither."""
    wanted = (Variant(family, TRANSFORM), Variant(family, OFF))
    return next((variant for variant in wanted if variant in results.variants), None)


def _verdict(results: Results, variant: Variant, measures: Sequence[Measure]) -> str:
    found = [(at, each) for at in measures if (each := results.baseline_difference(variant, at))]
    if not found:
        return ""
    baseline = results.family(results.family(variant.family).baseline).label
    clear = {
        tone: [_named(at, each) for at, each in found if tone_of(each, at) == tone] for tone in ("better", "worse")
    }
    parts = [f"{tone} on {listed(names)}" for tone, names in clear.items() if names]
    undecided = [at.benchmark for at, each in found if not tone_of(each, at)]
    title = variant_title(results, variant)
    if not parts:
        where = _all_of(undecided, found)
        return f"{title} against {baseline}: on {where} nothing can be said; every interval has zero in it."
    rest = f"; on {_all_of(undecided, found)} nothing can be said" if undecided else ""
    return f"{title} is clearly {' and '.join(parts)} than {baseline}{rest}."


def _all_of(names: Sequence[str], found: Sequence[object]) -> str:
    if len(names) == len(found) > 1:
        return f"all {len(names)} benchmarks"
    return listed(names)


def _named(measure: Measure, difference: Difference) -> str:
    return f"{measure.benchmark} ({number(difference.value, 1, '+')} points)"


def _dot_figure(results: Results, measures: Sequence[Measure], key: str, metric: str) -> Figure | None:
    """Every variant's differences, a panel for each benchmark; None when nothing has a baseline."""
    rows, words = [], []
    for variant in results.variants:
        differences = [results.baseline_difference(variant, measure) for measure in measures]
        if any(differences):
            title = variant_title(results, variant)
            baseline = results.family(results.family(variant.family).baseline).label
            label = f"{title} − {baseline}"
            series = list(CONNECTION_LABELS).index(variant.connection)
            dots = [Dot(each.value, each.low, each.high) if each else None for each in differences]
            rows.append(Row(label, series, dots))
            words.append(f"{label}: {_in_words(measures, differences)}.")
    if not rows:
        return None
    unit = metric_named(measures[0].metric).unit
    titles = [measure.benchmark if metric else measure_title(measure) for measure in measures]
    what = f"{metric_label(metric)}, {UNIT_LABELS[unit]}, lower is better" if metric else "points, higher is better"
    caption = (
        f"Difference to the baseline in {what}, with its {results.bootstrap.confidence:.0%} interval; every benchmark "
        "has a scale of its own. A filled mark means that the interval excludes zero. Shape and colour tell what is "
        "added at the connection position: circle, the Transform Matrix; square, nothing; triangle, the real English "
        "prompt."
    )
    return Figure(
        key,
        f"Difference to the baseline: {metric_label(metric)}" if metric else "Difference to the baseline",
        " ".join(words),
        draw_dots(titles, rows, DECIMALS[unit]),
        caption,
        is_wide=True,
    )


def _in_words(measures: Sequence[Measure], differences: Sequence[Difference | None]) -> str:
    shown = DECIMALS[metric_named(measures[0].metric).unit]
    return ", ".join(
        f"{at.benchmark} {number(each.value, shown, '+')} ({number(each.low, shown, '+')} to "
        f"{number(each.high, shown, '+')})"
        for at, each in zip(measures, differences, strict=True)
        if each
    )
