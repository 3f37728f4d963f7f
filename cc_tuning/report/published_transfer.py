"""The figures of Lee et al. 2025 (ACL 2025, arXiv 2505.14297), Tables 1 to 3, cell by cell, as `published.py` has the
first paper's.

`published_transfer.csv` has one row for each number: its table, the model, the run as recipes name it, the language
that the model was moved into (`target`) and the one it was asked in, the benchmark, the metric (`win_rate` over SFT, or
`accuracy`), the value and the error printed beside it, in percent; and a note where a number does not agree with others
of the paper.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TRANSFER_PAPER = "Lee et al. 2025 (arXiv 2505.14297)"
WIN_RATE = "win_rate"

_TABLE = Path(__file__).with_name("published_transfer.csv")
# The last part of a hub id or path, in lower case.
_MODELS = {
    "llama-2-7b-hf": "Llama-2-7B",
    "llama-2-7b": "Llama-2-7B",
    "llama-2-13b-hf": "Llama-2-13B",
    "llama-2-13b": "Llama-2-13B",
    "meta-llama-3-8b": "Llama-3-8B",
    "mistral-7b-v0.1": "Mistral-7B-v0.1",
    "qwen2.5-3b": "Qwen2.5-3B",
}


@dataclass(frozen=True)
class PublishedTransfer:
    """One printed number, in percent."""

    value: float
    error: float | None
    """The standard error printed beside it; None where there is none."""
    note: str
    """What does not add up about it; empty for most."""


@dataclass(frozen=True)
class _Key:
    model: str
    run: str
    target: str
    language: str
    benchmark: str
    metric: str


def transfer_model(base_model: str) -> str:
    """The paper's name of a base model, given as a hub id or a path; empty when the paper did not use it."""
    return _MODELS.get(base_model.rstrip("/").rpartition("/")[2].lower(), "")


def published_transfer(
    base_model: str, run: str, target: str, language: str, benchmark: str, metric: str
) -> PublishedTransfer | None:
    """A printed number; None where the paper has none.

    Args:
        base_model: hub id or path.
        run: the recipe's name of the method, such as `clo` or `sft+dpo`.
        target: ISO 639-1 of the language that the model was moved into.
        language: ISO 639-1 of the language that it was asked in.
        benchmark: the paper's name: AlpacaEval, BELEBELE or MMMLU.
        metric: `accuracy`, or `win_rate`, which is over SFT.
    """
    return _published().get(_Key(transfer_model(base_model), run, target, language, benchmark, metric))


@cache
def _published() -> dict[_Key, PublishedTransfer]:
    key = ("model", "run", "target", "language", "benchmark", "metric")
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {
            _Key(**{name: row[name] for name in key}): PublishedTransfer(
                float(row["value"]), float(row["error"]) if row["error"] else None, row["note"]
            )
            for row in csv.DictReader(file)
        }
