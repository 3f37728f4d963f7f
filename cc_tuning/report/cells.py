"""Tables of scores and of differences: one number in a cell, below it its interval."""

from collections.abc import Callable, Sequence

from cc_tuning.document.blocks import MISSING, Cell, Table, Tags, Tone, number, numeric
from cc_tuning.report.names import DECIMALS, UNIT_LABELS, is_headline, language_label, metric_label, metric_named
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Difference, Estimate, Measure, Variant, sign

_UNBROKEN = "\u00a0"
_ARROWS: dict[Tone, str] = {"better": f"▲{_UNBROKEN}", "worse": f"▼{_UNBROKEN}", "": ""}


def variant_cell(results: Results, variant: Variant) -> Cell:
    """The name of a row: the family, and below it the connection."""
    return Cell(results.family(variant.family).label, results.connection_label(variant))


def variant_title(results: Results, variant: Variant) -> str:
    """The same in one line, for sentences and pictures."""
    return ", ".join(part for part in (variant_cell(results, variant).text, results.connection_label(variant)) if part)


def variant_tags(variant: Variant) -> Tags:
    """What the page's filters hide a row by."""
    return {"run": variant.family, "connection": variant.connection}


def language_tags(languages: Sequence[str]) -> list[Tags]:
    """What the page's filters hide the columns of a table by, whose first column names its rows."""
    return [{}, *({"language": language} for language in languages)]


def language_columns(languages: Sequence[str]) -> list[str]:
    """The names of the same columns, without the first."""
    return list(map(language_label, languages))


def measure_title(measure: Measure) -> str:
    """The name of a column: the benchmark, and its metric where that is not accuracy."""
    return measure.benchmark if measure.metric == "accuracy" else f"{measure.benchmark} {metric_label(measure.metric)}"


def headline_measures(results: Results) -> list[Measure]:
    """One measure for each benchmark: what stands where there is room for one figure."""
    return [measure for measure in results.measures if is_headline(measure.benchmark, measure.metric)]


def metric_title(metric: str) -> str:
    """A metric with its unit and direction: `gold NLL (nats per token, lower is better)`."""
    known = metric_named(metric)
    direction = "" if known.is_higher_better else ", lower is better"
    return f"{known.label} ({UNIT_LABELS[known.unit]}{direction})"


def score_table(
    key: str,
    title: str,
    results: Results,
    measures: Sequence[Measure],
    group: str | None = None,
    note: str = "",
    is_folded: bool = False,
    titled: Callable[[Measure], str] | None = None,
) -> Table:
    """Scores of variants by measures: of all items, or of one group's. Variants without any are left out."""
    rows, tags = [], []
    for variant in results.variants:
        estimates = [
            results.score(variant, at) if group is None else results.group_score(variant, at, group) for at in measures
        ]
        if any(estimates):
            cells = [score_cell(each, at) for each, at in zip(estimates, measures, strict=True)]
            rows.append([variant_cell(results, variant), *cells])
            tags.append(variant_tags(variant))
    return Table(key, title, ["method", *map(titled or measure_title, measures)], rows, note, is_folded, tags)


def difference_table(
    key: str,
    title: str,
    results: Results,
    measures: Sequence[Measure],
    group: str | None = None,
    note: str = "",
    is_folded: bool = False,
    titled: Callable[[Measure], str] | None = None,
) -> Table | None:
    """Differences of variants to their baselines by measures; None when nothing has a baseline."""
    rows, tags = [], []
    for variant in results.variants:
        differences = [results.baseline_difference(variant, measure, group) for measure in measures]
        if any(differences):
            baseline = results.family(results.family(variant.family).baseline).label
            connection = results.connection_label(variant)
            name = Cell(results.family(variant.family).label, "\n".join(filter(None, (connection, f"− {baseline}"))))
            cells = [difference_cell(each, at) for each, at in zip(differences, measures, strict=True)]
            rows.append([name, *cells])
            tags.append(variant_tags(variant))
    return (
        Table(key, title, ["method", *map(titled or measure_title, measures)], rows, note, is_folded, tags)
        if rows
        else None
    )


def score_cell(estimate: Estimate | None, measure: Measure | None = None) -> Cell:
    """A score, its interval, and with several seeds the lowest and the highest of them."""
    if estimate is None:
        return numeric(MISSING)
    shown = _decimals(measure)
    detail = f"[{number(estimate.low, shown)},{_UNBROKEN}{number(estimate.high, shown)}]"
    if len(estimate.by_seed) > 1:
        detail += f"\nseeds {number(min(estimate.by_seed), shown)} to {number(max(estimate.by_seed), shown)}"
    bounds = (estimate.low, estimate.high)
    return numeric(number(estimate.value, shown), detail, value=estimate.value, bounds=bounds)


def difference_cell(difference: Difference | None, measure: Measure | None = None) -> Cell:
    """A difference with its interval; an arrow up where it is clearly better, down where it is clearly worse."""
    if difference is None:
        return numeric(MISSING)
    shown, tone = _decimals(measure), tone_of(difference, measure)
    low, high = (number(end, shown, "+") for end in (difference.low, difference.high))
    detail = "\n".join([f"[{low},{_UNBROKEN}{high}]", *_agreement(difference)])
    text = _ARROWS[tone] + number(difference.value, shown, "+")
    return numeric(text, detail, tone, difference.value, (difference.low, difference.high))


def tone_of(difference: Difference, measure: Measure | None) -> Tone:
    """Whether a difference is one: its interval lies on one side of zero, and which side is the better one."""
    is_higher_better = measure is None or metric_named(measure.metric).is_higher_better
    gained = "better" if is_higher_better else "worse"
    lost = "worse" if is_higher_better else "better"
    if sign(difference.low) > 0:
        return gained  # type: ignore[return-value]
    return lost if sign(difference.high) < 0 else ""  # type: ignore[return-value]


def _decimals(measure: Measure | None) -> int:
    return DECIMALS[metric_named(measure.metric).unit] if measure else 1


def _agreement(difference: Difference) -> Sequence[str]:
    """How many seeds tell the same as their mean; nothing when there is one."""
    seeds = len(difference.by_seed)
    return [f"{difference.seeds_that_agree} of {seeds} seeds agree"] if seeds > 1 else []
