"""The averages that the paper prints, to stand beside ours where model, method and benchmark are the same.

`paper_table1.csv` is Table 1 of Ye et al. 2025 (ACL 2025, arXiv 2506.00875): percent, averages over ten languages.
ROUGE-L is filed as `rougeL_ascii`, the scorer that its per-language figures point to (docs/deviations.md).
"""

import csv
from functools import cache
from pathlib import Path

SOURCE = "Ye et al. 2025, Table 1 (arXiv 2506.00875)"

_TABLE = Path(__file__).with_name("paper_table1.csv")
# The last part of a hub id or path, in lower case. Instruction-tuned variants are other models and are not listed.
_MODELS = {
    "llama-3.1-8b": "LLaMA-3.1-8B",
    "meta-llama-3.1-8b": "LLaMA-3.1-8B",
    "qwen2.5-7b": "Qwen2.5-7B",
}


def published_model(base_model: str) -> str | None:
    """The paper's name of a base model, given as a hub id or a path; None when the paper did not use it."""
    return _MODELS.get(base_model.rstrip("/").rpartition("/")[2].lower())


def published_average(model: str, benchmark: str, run: str, metric: str) -> float | None:
    """The printed average in percent; None where the paper has none.

    Args:
        model: the paper's name of the model, see `published_model`.
        run: the run's name, `cc-tuning+mt` for the paper's CC-Tuning +MT.
        metric: `accuracy` or `rougeL_ascii`.
    """
    return _published().get((model, benchmark, run, metric))


@cache
def _published() -> dict[tuple[str, str, str, str], float]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {(row["model"], row["benchmark"], row["run"], row["metric"]): float(row["value"]) for row in rows}
