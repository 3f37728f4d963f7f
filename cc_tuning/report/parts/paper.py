"""Our averages beside those that the paper prints, where model, method and benchmark are the same.

`paper_table1.csv` is Table 1 of Ye et al. 2025 (ACL 2025, arXiv 2506.00875): percent, averages over ten languages.
ROUGE-L is filed as `rougeL_ascii`, the scorer that its per-language figures point to (docs/deviations.md).
"""

import csv
from functools import cache
from pathlib import Path

from cc_tuning.document.blocks import MISSING, Cell, Section, Table, number, numeric
from cc_tuning.report.cells import measure_title
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import OFF, TRANSFORM
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Estimate, Measure, Variant

SOURCE = "Ye et al. 2025, Table 1 (arXiv 2506.00875)"

_TABLE = Path(__file__).with_name("paper_table1.csv")
# The last part of a hub id or path, in lower case. Instruction-tuned variants are other models and are not listed.
_MODELS = {
    "llama-3.1-8b": "LLaMA-3.1-8B",
    "meta-llama-3.1-8b": "LLaMA-3.1-8B",
    "qwen2.5-7b": "Qwen2.5-7B",
}


def paper_part(evidence: Evidence) -> Section | None:
    """Our averages and the paper's in one table; None when no model, method and benchmark is in both."""
    model = published_model(evidence.config.base_model)
    table = _paper_table(evidence.results, model) if model else None
    if table is None:
        return None
    text = (
        f"Averages over languages beside those printed in {SOURCE}, for {model}. The paper's training rows, "
        "translations and scorers are not published, so equal figures are not to be expected. ROUGE-L is compared "
        "with the ASCII figure."
    )
    return Section("paper", "Beside the paper", [text], [table])


def published_model(base_model: str) -> str | None:
    """The paper's name of a base model, given as a hub id or a path; None when the paper did not use it."""
    return _MODELS.get(base_model.rstrip("/").rpartition("/")[2].lower())


def published_average(model: str, benchmark: str, run: str, metric: str) -> float | None:
    """The printed average in percent; None where the paper has none.

    Args:
        model: the paper's name of the model, see `published_model`.
        run: the recipe's name of a row of the paper, `cc-tuning+mt` for its CC-Tuning +MT.
        metric: `accuracy` or `rougeL_ascii`.
    """
    return _published().get((model, benchmark, run, metric))


@cache
def _published() -> dict[tuple[str, str, str, str], float]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        return {(row["model"], row["benchmark"], row["run"], row["metric"]): float(row["value"]) for row in rows}


def _paper_table(results: Results, model: str) -> Table | None:
    printed = {
        (variant, measure): value
        for variant in results.variants
        for measure in results.measures
        if (value := _printed(results, model, variant, measure)) is not None
    }
    measures = [measure for measure in results.measures if any(at == measure for _, at in printed)]
    variants = [variant for variant in results.variants if any(at == variant for at, _ in printed)]
    rows = [
        [
            Cell(results.family(variant.family).label),
            *(_paper_cell(results.score(variant, measure), printed.get((variant, measure))) for measure in measures),
        ]
        for variant in variants
    ]
    return Table("paper", "", ["method", *map(measure_title, measures)], rows) if rows else None


def _printed(results: Results, model: str, variant: Variant, measure: Measure) -> float | None:
    # The paper prints CC-Tuning with the Transform Matrix and the baselines without anything.
    if variant.connection != (TRANSFORM if results.is_connected(variant.family) else OFF):
        return None
    return published_average(model, measure.benchmark, variant.family, measure.metric)


def _paper_cell(estimate: Estimate | None, printed: float | None) -> Cell:
    ours = MISSING if estimate is None else number(estimate.value)
    return numeric(ours, f"paper {number(printed)}")
