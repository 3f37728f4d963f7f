"""Tables of scores and of differences: one number in a cell, below it its interval."""

from collections.abc import Callable, Sequence

from cc_tuning.document.blocks import MISSING, Cell, Table, Tags, Tone, number, numeric
from cc_tuning.report.names import DECIMALS, UNIT_LABELS, language_label, metric_label, metric_named
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Comparison, Estimate, Measure, Variant

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
        baseline = results.baseline_of(variant)
        found = results.comparisons([(variant, baseline)], measures, group) if baseline else ()
        if baseline and found:
            of_measure = {each.measure: each for each in found}
            connection, against = results.connection_label(variant), results.family(baseline.family).label
            name = Cell(results.family(variant.family).label, f"{connection} − {against}".lstrip())
            rows.append([name, *(difference_cell(of_measure.get(at)) for at in measures)])
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


def difference_cell(comparison: Comparison | None) -> Cell:
    """A difference with its interval; an arrow up where it is clearly better, down where it is clearly worse."""
    if comparison is None:
        return numeric(MISSING)
    shown, tone = _decimals(comparison.measure), tone_of(comparison)
    low, high = (number(end, shown, "+") for end in (comparison.low, comparison.high))
    detail = "\n".join([f"[{low},{_UNBROKEN}{high}]", *_agreement(comparison)])
    text = _ARROWS[tone] + number(comparison.value, shown, "+")
    return numeric(text, detail, tone, comparison.value, (comparison.low, comparison.high))


def tone_of(comparison: Comparison) -> Tone:
    """The verdict of a comparison; nothing where it is undecided."""
    return "" if comparison.verdict == "undecided" else comparison.verdict


def _decimals(measure: Measure | None) -> int:
    return DECIMALS[metric_named(measure.metric).unit] if measure else 1


def _agreement(comparison: Comparison) -> Sequence[str]:
    """How many seeds tell the same as their mean; nothing when there is one."""
    seeds = len(comparison.by_seed)
    return [f"{comparison.seeds_that_agree} of {seeds} seeds agree"] if seeds > 1 else []
