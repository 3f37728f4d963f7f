"""The stage `report`: everything the runs left behind, on one page.

It reads the artifacts of the other stages, pairs runs by item, and lays the figures out. Files: `index.html`
(self-contained), `report.md`, `figures/*.svg` (for the Markdown), `scores.csv`. Their bytes depend on the inputs only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.report.document import Document, Figure
from cc_tuning.report.evidence import collect_evidence
from cc_tuning.report.markdown import render_markdown
from cc_tuning.report.page import render_page
from cc_tuning.report.results import Bootstrap, Results
from cc_tuning.report.sections import compose_document
from cc_tuning.report.tables import scores_csv
from cc_tuning.step import Build, Source, Step
from data_contracts.files import written_atomically
from data_contracts.manifest import RowCounts

STAGE, VERSION = "report", 3
PAGE, MARKDOWN, SCORES, FIGURES = "index.html", "report.md", "scores.csv", "figures"


class ReportConfig(BaseModel):
    """What a report says about itself, and how its differences are bootstrapped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the recipe.")
    runs: tuple[str, ...] = Field(min_length=1, description="The runs, in the order of the tables.")
    base_model: str = Field(description="Hub id or path; the paper's figures are shown beside ours for its models.")
    bootstrap_samples: int = Field(default=10_000, ge=1, description="Resamples, as in the evaluation.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Coverage of the intervals, as in the evaluation.")
    seed: int = Field(default=0, ge=0, description="Seed of the resamples and of the choice of sample items.")
    samples_per_benchmark: int = Field(default=2, ge=0, description="Sample items shown per benchmark.")
    recipe: dict[str, Any] = Field(default_factory=dict, description="The recipe without its execution section.")


def report_step(recipe: Mapping[str, Any], inputs: Mapping[str, Source]) -> Step:
    """The step that reports on a recipe.

    Args:
        recipe: the recipe's values without `execution`; its `name`, `runs`, `model.base` and `evaluation` are used.
        inputs: artifacts by name: `select`, `translate`, `items` (a folder of benchmark files), stages of the embedded
            default by their name, and `materialize/<run>`, `train/<run>`, `transform/<run>`, `evaluate/<run>`. Any may
            be missing.
    """
    evaluation = recipe["evaluation"]
    config = ReportConfig(
        name=recipe["name"],
        runs=tuple(recipe["runs"]),
        base_model=recipe["model"]["base"],
        bootstrap_samples=evaluation["bootstrap_samples"],
        confidence=evaluation["confidence"],
        seed=evaluation["seed"],
        recipe=dict(recipe),
    )
    return Step(STAGE, VERSION, config, inputs, build_report, label=STAGE)


def build_report(build: Build[ReportConfig]) -> RowCounts:
    """Write the report; its rows are the item scores it was made from.

    Raises:
        ConfigError: an input belongs to a run that the report does not have.
        ArtifactMismatch: an input's file is missing or damaged.
        ContractViolation: an input's rows do not keep their contract.
    """
    config = build.config
    evidence = collect_evidence(config.runs, build.inputs, config.seed)
    results = Results(evidence, Bootstrap(config.bootstrap_samples, config.confidence, config.seed))
    document = compose_document(
        config.name, config.base_model, config.recipe, evidence, results, config.samples_per_benchmark
    )
    write_report(build.folder, document, scores_csv(results))
    return RowCounts(read=results.item_scores.height, kept=results.item_scores.height)


def write_report(folder: Path, document: Document, scores: str) -> None:
    """Write a document in all its forms."""
    _write(folder / PAGE, render_page(document))
    _write(folder / MARKDOWN, render_markdown(document))
    _write(folder / SCORES, scores)
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                _write(folder / FIGURES / f"{block.key}.svg", block.svg)


def _write(path: Path, text: str) -> None:
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
