"""A comparison in plain words, made from its numbers alone."""

import math
from collections.abc import Callable

from cc_tuning.evaluation.scales import scale_of
from cc_tuning.report.names import metric_label
from cc_tuning.report.scores import Comparison, Measure, Variant, sign

_CONNECTIONS = {
    "transform": "with its matrix",
    "off": "with the connection off",
    "parallel": "with the real English prompt",
    "constant": "with a constant vector",
    "other": "with another item's English prompt",
    "identity": "with its own activations",
    "pivot": "with a translated English prompt",
    "context": "with the English version in the prompt",
    "pivot_context": "with a translated English version in the prompt",
}


def connected_name(label: str, connection: str) -> str:
    """A connected run in a sentence: `CC-Tuning with its matrix`."""
    return f"{label} {_CONNECTIONS[connection]}"


def plain_name(variant: Variant) -> str:
    """A variant by the names of the recipe: `ml-sft`, `cc-tuning (transform)`."""
    return variant.family if variant.connection == "off" else f"{variant.family} ({variant.connection})"


def sentence(comparison: Comparison, name_of: Callable[[Variant], str] = plain_name) -> str:
    """What a comparison says: `A is 1.9 points below B on XNLI; these 200 items a language could show 2.4 points; ...`

    A difference is called one when the verdict says so. Otherwise the sentence tells what these items could have shown,
    and, where the items alone would have shown it, that the seeds or the number of comparisons speak against it.
    """
    lead = f"{_lead(comparison, name_of)}; {_items(comparison)}"
    if comparison.verdict == "undecided":
        return f"{lead} could show {_showable(comparison)}; {_why_undecided(comparison)}."
    nearer, further = sorted((abs(comparison.low), abs(comparison.high)))
    return (
        f"{lead} show this as a difference of {_figure(nearer, comparison)} to {_amount(further, comparison)} "
        f"({_probability(comparison.p_holm)})."
    )


def _lead(comparison: Comparison, name_of: Callable[[Variant], str]) -> str:
    ours, theirs = name_of(comparison.minuend), name_of(comparison.subtrahend)
    side, measure = sign(comparison.value), comparison.measure
    if not side:
        return f"{ours} and {theirs} are equal on {_measure(measure)}"
    where = "above" if side > 0 else "below"
    reminder = "" if measure.is_higher_better else f", which is {'worse' if side > 0 else 'better'}"
    return f"{ours} is {_amount(abs(comparison.value), comparison)} {where} {theirs} on {_measure(measure)}{reminder}"


def is_showable(comparison: Comparison) -> bool:
    """Whether these items could have shown any difference: scores between 0 and 100 never differ by more than 100."""
    bounds = scale_of(comparison.measure.metric).bounds
    return comparison.smallest_showable < (bounds[1] - bounds[0] if bounds else math.inf)


def _showable(comparison: Comparison) -> str:
    if is_showable(comparison):
        return _amount(comparison.smallest_showable, comparison)
    return "no difference, however large"


def _why_undecided(comparison: Comparison) -> str:
    level = 1 - comparison.confidence
    if not sign(comparison.value) or comparison.p_items > level:
        return "nothing can be said"
    if comparison.p > level:
        return "the items would tell it from none, but the seeds lie too far apart; nothing can be said"
    if sign(comparison.low) != sign(comparison.high):
        return "its interval holds 0; nothing can be said"
    return "alone it would be called a difference, among all that were compared with it it may be chance"


def _items(comparison: Comparison) -> str:
    each = comparison.items / comparison.languages
    number = f"{each:,.0f}" if each == int(each) else f"about {each:,.0f}"
    where = " a language" if comparison.languages > 1 else ""
    return f"these {number} items{where}" if each != 1 else f"this one item{where}"


def _measure(measure: Measure) -> str:
    """The benchmark, and its metric where that is not accuracy."""
    return measure.benchmark if measure.metric == "accuracy" else f"{measure.benchmark} {metric_label(measure.metric)}"


def decimals_of(measure: Measure) -> int:
    """How many decimals its figures have."""
    return scale_of(measure.metric).decimals


def _figure(value: float, comparison: Comparison) -> str:
    return f"{value:,.{decimals_of(comparison.measure)}f}"


def _amount(value: float, comparison: Comparison) -> str:
    """A figure with its unit: `1.0 points`, `0.0120 nats per token`."""
    return f"{_figure(value, comparison)} {scale_of(comparison.measure.metric).points}"


def _probability(p: float) -> str:
    return "p below 0.0001" if p < 0.0001 else f"p = {p:.4f}"
