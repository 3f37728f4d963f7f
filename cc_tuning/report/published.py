"""The figures that the paper prints, cell by cell: Ye et al. 2025 (ACL 2025, arXiv 2506.00875), Tables 1 to 6.

`published.csv` has one row for each number: its table, the model, the run as recipes name it, benchmark and language
(`avg` for an average over ten), the metric, the value, and a note where the number does not agree with others of the
paper or could not be read with certainty. Percent; seconds, or ratios to the run without a connection, in Tables 3
and 4. ROUGE-L is filed as `rougeL_ascii`, the scorer that its per-language figures point to (docs/deviations.md).
Languages of XQuAD in Table 6 are those of the paper's appendix A.1, in its order: the header printed there is MMMLU's.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cc_tuning.report.names import AVERAGE

PAPER = "Ye et al. 2025 (arXiv 2506.00875)"
PARALLEL_MINUS_TRANSFORM = "abs_parallel_minus_transform"
"""|Δ| of Table 2: the score with the real English prompt minus that with the Transform Matrix, without its sign."""
TRAINING_RATIO, INFERENCE_RATIO = "training_ratio", "inference_ratio"
"""Seconds of the connected run over those of the same run without a connection (Tables 3 and 4)."""

_TABLE = Path(__file__).with_name("published.csv")
# The last part of a hub id or path, in lower case. Instruction-tuned variants are other models and are not listed.
_MODELS = {
    "llama-3.1-8b": "LLaMA-3.1-8B",
    "meta-llama-3.1-8b": "LLaMA-3.1-8B",
    "qwen2.5-7b": "Qwen2.5-7B",
}


@dataclass(frozen=True)
class Published:
    """One printed number."""

    value: float
    note: str
    """What does not add up about it; empty for most."""
    table: int


@dataclass(frozen=True)
class _Key:
    model: str
    run: str
    benchmark: str
    language: str
    metric: str


def published_model(base_model: str) -> str | None:
    """The paper's name of a base model, given as a hub id or a path; None when the paper did not use it."""
    return _MODELS.get(base_model.rstrip("/").rpartition("/")[2].lower())


def published(model: str, run: str, benchmark: str, metric: str, language: str = AVERAGE) -> Published | None:
    """A printed number; None where the paper has none, or none that could be read.

    Args:
        model: the paper's name of the model, see `published_model`.
        run: the recipe's name of a row of the paper, `cc-tuning+mt` for its CC-Tuning +MT.
        benchmark: its name in the contracts; empty for the training time of Table 3.
        metric: `accuracy` or `rougeL_ascii`, or one of the constants of this module.
        language: a language's code; the average by default; empty for the training time.
    """
    return _published().get(_Key(model, run, benchmark, language, metric))


@cache
def _published() -> dict[_Key, Published]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return {
            _Key(row["model"], row["run"], row["benchmark"], row["language"], row["metric"]): Published(
                float(row["value"]), row["note"], int(row["table"])
            )
            for row in csv.DictReader(file)
        }
