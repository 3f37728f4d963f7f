"""Cells of tables of scores: a score with its interval, and below it the difference to a baseline."""

from collections.abc import Sequence

from cc_tuning.document.blocks import MISSING, Cell, Table, Tone, number, numeric
from cc_tuning.report.names import metric_label
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Comparison, Estimate, Measure, Variant, sign

_UNBROKEN = "\u00a0"
_DELTA = f"Δ{_UNBROKEN}"
_ARROWS: dict[Tone, str] = {"better": f"▲{_UNBROKEN}", "worse": f"▼{_UNBROKEN}", "": ""}


def variant_cell(results: Results, variant: Variant) -> Cell:
    """The name of a row: the family, and below it the connection."""
    return Cell(results.family(variant.family).label, results.connection_label(variant))


def measure_title(measure: Measure) -> str:
    """The name of a column: the benchmark, and its metric where that is not accuracy."""
    return measure.benchmark if measure.metric == "accuracy" else f"{measure.benchmark} {metric_label(measure.metric)}"


def score_table(
    key: str, title: str, results: Results, group: str | None = None, note: str = "", is_folded: bool = False
) -> Table:
    """Variants by measures, with differences to the baseline: of all items, or of one group's."""
    rows = [
        [variant_cell(results, variant), *(_compared_cell(results, variant, at, group) for at in results.measures)]
        for variant in results.variants
    ]
    return Table(key, title, ["method", *map(measure_title, results.measures)], rows, note, is_folded)


def score_cell(estimate: Estimate | None) -> Cell:
    """A score, its interval, and with several seeds the lowest and the highest of them."""
    if estimate is None:
        return numeric(MISSING)
    detail = f"[{_points(estimate.low)},{_UNBROKEN}{_points(estimate.high)}]"
    if len(estimate.by_seed) > 1:
        detail += f"\nseeds {_points(min(estimate.by_seed))} to {_points(max(estimate.by_seed))}"
    return numeric(_points(estimate.value), detail)


def difference_cell(difference: Comparison | None) -> Cell:
    """A difference with its interval, as the main text of a cell."""
    if difference is None:
        return numeric(MISSING)
    tone = _tone(difference)
    detail = "\n".join([_signed_interval(difference), *_agreement(difference)])
    return numeric(_ARROWS[tone] + _signed(difference.value), detail, tone=tone)


def _compared_cell(results: Results, variant: Variant, measure: Measure, group: str | None) -> Cell:
    estimate = results.score(variant, measure) if group is None else results.group_score(variant, measure, group)
    cell, difference = score_cell(estimate), results.baseline_comparison(variant, measure, group)
    if estimate is None or difference is None:
        return cell
    tone = _tone(difference)
    lines = [f"{_ARROWS[tone] or _DELTA}{_signed(difference.value)}", _signed_interval(difference)]
    return numeric(cell.text, cell.detail, "\n".join([*lines, *_agreement(difference)]), tone)


def _agreement(difference: Comparison) -> Sequence[str]:
    """How many seeds tell the same as their mean; nothing when there is one."""
    seeds = len(difference.by_seed)
    return [f"{difference.seeds_that_agree} of {seeds} seeds agree"] if seeds > 1 else []


def _points(value: float) -> str:
    return number(value, decimals=1)


def _signed_interval(difference: Comparison) -> str:
    return f"[{_signed(difference.low)},{_UNBROKEN}{_signed(difference.high)}]"


def _signed(value: float) -> str:
    return number(value, decimals=1, sign="+")


def _tone(difference: Comparison) -> Tone:
    """Whether the interval of the difference lies on one side of zero."""
    if sign(difference.low) > 0:
        return "better"
    return "worse" if sign(difference.high) < 0 else ""
