"""How runs, connections, metrics and stages are called on the page."""

from collections.abc import Sequence

from cc_tuning.document.blocks import Direction
from cc_tuning.text.languages import UnknownLanguage, by_iso639_1

CONNECTION_ORDER = ("transform", "off", "parallel")
AVERAGE = "avg"

_METHODS = {"ml-sft": "ML-SFT", "cc-tuning": "CC-Tuning"}
_CONNECTIONS = {"transform": "Transform Matrix", "off": "connection off", "parallel": "real English prompt"}
_METRICS = {
    "accuracy": "accuracy",
    "rougeL": "ROUGE-L",
    "rougeL_ascii": "ROUGE-L ASCII",
}
_GROUPS = {
    "english_only": "Items whose facts the base model met in English only",
    "both": "Items whose facts the base model also met in the language",
}


def run_label(run: str) -> str:
    """`cc-tuning+mt` as people write it: CC-Tuning +MT."""
    method, plus, setting = run.partition("+")
    return f"{_METHODS.get(method, method)}{' ' + plus + setting.upper() if plus else ''}"


def connection_label(run: str, connection: str) -> str:
    """What was added at the connection position; empty for a run that has no connection."""
    return _CONNECTIONS.get(connection, connection) if has_connection(run) else ""


def full_label(run: str, connection: str) -> str:
    """Run and connection in one line."""
    return ", ".join(part for part in (run_label(run), connection_label(run, connection)) if part)


def has_connection(run: str) -> bool:
    """Whether a run of this name trains a connection."""
    return run.partition("+")[0] == "cc-tuning"


def metric_label(metric: str) -> str:
    """The metric's name on the page."""
    return _METRICS.get(metric, metric)


def group_label(group: str) -> str:
    """A group of items in words; a group that only its benchmark file knows keeps its name."""
    return _GROUPS.get(group, f"Items of group {group}")


def metric_place(metric: str) -> tuple[int, str]:
    """Sorts metrics into the order of the page."""
    known = list(_METRICS)
    return (known.index(metric) if metric in known else len(known), metric)


def baseline_run(run: str, runs: Sequence[str]) -> str | None:
    """The run that a run is held against: ML-SFT on the same training data, otherwise plain ML-SFT.

    The paper's rule (Table 1) for CC-Tuning; ML-SFT +EN and +MT are held against plain ML-SFT. None when the baseline
    is the run itself or was not made.
    """
    setting = run.partition("+")[2]
    same_data = f"ml-sft+{setting}" if setting and has_connection(run) else "ml-sft"
    return next((name for name in (same_data, "ml-sft") if name in runs and name != run), None)


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
