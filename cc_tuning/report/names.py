"""How connections, metrics, languages and groups of items are called on the page, and in which order they stand."""

from collections.abc import Mapping, Sequence

from cc_tuning.document.blocks import Direction, number
from cc_tuning.evaluation.benchmark import METRICS, Metric, MetricKind, Unit
from cc_tuning.evaluation.benchmarks import BENCHMARKS as BENCHMARK_TABLE
from cc_tuning.report.config import Family
from cc_tuning.text.languages import UnknownLanguage, by_iso639_1
from data_contracts.schemas import BENCHMARKS

AVERAGE = "avg"
"""Stands for a language in the average over languages, as the evaluation writes it."""
OFF, TRANSFORM, PARALLEL = "off", "transform", "parallel"
CONTROLS = ("constant", "other", "identity")
"""Connections that only the likelihoods of given answers are measured through."""
CONTEXT, PIVOT, PIVOT_CONTEXT = "context", "pivot", "pivot_context"
AS_TEXT = (CONTEXT, PIVOT_CONTEXT)
"""English that comes as text: no connection is needed for it."""
CONNECTION_LABELS: Mapping[str, str] = {
    TRANSFORM: "Transform Matrix",
    OFF: "connection off",
    PARALLEL: "real English prompt",
    "constant": "constant vector",
    "other": "another English prompt",
    "identity": "its own activation",
    PIVOT: "translated English prompt",
    CONTEXT: "English in the prompt",
    PIVOT_CONTEXT: "translated English in the prompt",
}
"""What is added at the connection position or to the prompt's text, in the order of the page."""
UNIT_LABELS: Mapping[Unit, str] = {
    "percent": "percent", "nats_per_token": "nats per token", "bits_per_byte": "bits per byte",
}  # fmt: skip
DECIMALS: Mapping[Unit, int] = {"percent": 1, "nats_per_token": 3, "bits_per_byte": 3}
KIND_LABELS: Mapping[MetricKind, str] = {
    "task": "How good the answers are",
    "likelihood": "How likely given answers are",
    "behaviour": "What the answers look like",
}

_GROUPS = {
    "english_only": "Items whose facts the base model met in English only",
    "both": "Items whose facts the base model also met in the language",
    "in_prompt": "Items whose facts stand in their prompts only",
}


def metric_named(metric: str) -> Metric:
    """What is known of a metric; one that no benchmark declares has its name, and is a task's in percent."""
    return METRICS.get(metric) or Metric(metric, metric, "", is_headline=False, is_of_paper=False)


def metric_label(metric: str) -> str:
    """The metric's name on the page."""
    return metric_named(metric).label


def is_headline(benchmark: str, metric: str) -> bool:
    """Whether it is the one figure of the benchmark where there is room for one."""
    known = BENCHMARK_TABLE.get(benchmark)
    return known.headline_metric.name == metric if known else metric_named(metric).is_headline


def score_text(metric: str | None, score: float | None) -> str:
    """`correct`, `wrong`, or the metric with its value; empty when it was not scored."""
    if metric is None or score is None:
        return ""
    if metric == "accuracy":
        return "correct" if score > 0 else "wrong"
    return f"{metric_label(metric)} {number(score, 1)}"


def group_label(group: str) -> str:
    """A group of items in words; a group that only its benchmark file knows keeps its name."""
    return _GROUPS.get(group, f"Items of group {group}")


def metric_place(metric: str) -> tuple[int, str]:
    """Sorts metrics into the order of the page, those without a place there by name at the end."""
    return _place(metric, tuple(METRICS))


def benchmark_place(benchmark: str) -> tuple[int, str]:
    """Sorts benchmarks into the paper's order, others by name at the end."""
    return _place(benchmark, BENCHMARKS)


def language_label(code: str) -> str:
    """A benchmark's language code with its name where the table knows it: `sw Swahili`."""
    try:
        return f"{code} {by_iso639_1(code).name}"
    except UnknownLanguage:
        return code


def text_direction(code: str) -> Direction:
    """Which way a text in this language runs; left to the browser where the language is not in the table."""
    try:
        return "rtl" if by_iso639_1(code).right_to_left else "ltr"
    except UnknownLanguage:
        return "auto"


def language_tag(code: str) -> str:
    """The language tag of BCP 47 with the script, `ur-Arab`; the code itself where the table lacks it."""
    try:
        return by_iso639_1(code).tag
    except UnknownLanguage:
        return code


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def html_key(family: Family) -> str:
    """A family's name where only letters, digits and hyphens are allowed: in ids and in names of files."""
    kept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
    name = family.name.replace("+", "-with-")
    return "".join(character if character in kept else f"-{ord(character):x}-" for character in name)


def _place(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)
