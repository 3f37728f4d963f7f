"""The stage `report`: everything the runs left behind, on one page.

It reads the artifacts of the other stages, pairs runs by item, and lays the figures out. Files: `index.html`
(self-contained), `report.md`, `figures/*.svg` (for the Markdown), `scores.csv`. Their bytes depend on the inputs only.
"""

from pathlib import Path

from cc_tuning.document.blocks import Document, Figure
from cc_tuning.document.markdown import render_markdown
from cc_tuning.document.page import render_page
from cc_tuning.report.config import ReportConfig
from cc_tuning.report.evidence import collect_evidence
from cc_tuning.report.results import Bootstrap, Results
from cc_tuning.report.sections import compose_document
from cc_tuning.report.tables import scores_csv
from cc_tuning.runtime.step import Build
from data_contracts.files import written_atomically
from data_contracts.layout import REPORT_FIGURES, REPORT_MARKDOWN, REPORT_PAGE, REPORT_SCORES
from data_contracts.manifest import RowCounts


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
    _write(folder / REPORT_PAGE, render_page(document))
    _write(folder / REPORT_MARKDOWN, render_markdown(document))
    _write(folder / REPORT_SCORES, scores)
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                _write(folder / REPORT_FIGURES / f"{block.key}.svg", block.svg)


def _write(path: Path, text: str) -> None:
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
