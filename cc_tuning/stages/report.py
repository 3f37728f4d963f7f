"""The stage `report`: everything the runs left behind, on one page.

It reads the artifacts of the other stages, pairs runs by item, and lays the figures out. Files: `index.html`
(self-contained), `report.md`, `figures/*.svg` (for the Markdown), `scores.csv`, `tables/` (each table as CSV, LaTeX and
parquet), `predictions.parquet` (every answer beside what was asked and expected, where a run has answers), and
`item_scores.parquet`, by which two reports are compared. Their bytes depend on the inputs only.
"""

from cc_tuning.document.writing import write_document, write_tables, write_text
from cc_tuning.report.answers import write_answers
from cc_tuning.report.composition import compose_document
from cc_tuning.report.config import ReportConfig
from cc_tuning.report.evidence import collect_evidence
from cc_tuning.report.item_scores import write_item_scores
from cc_tuning.report.scores_csv import scores_csv
from cc_tuning.runtime.step import Build
from data_contracts.layout import (
    REPORT_ITEM_SCORES,
    REPORT_MARKDOWN,
    REPORT_PAGE,
    REPORT_PREDICTIONS,
    REPORT_SCORES,
    REPORT_TABLES,
)
from data_contracts.manifest import RowCounts


def build_report(build: Build[ReportConfig]) -> RowCounts:
    """Write the report; its rows are the item scores it was made from.

    Raises:
        ConfigError: an input belongs to a run that the report does not have.
        ArtifactMismatch: an input's file is missing or damaged.
        ContractViolation: an input's rows do not keep their contract.
    """
    evidence = collect_evidence(build.config, build.inputs)
    document = compose_document(evidence)
    write_document(document, build.folder / REPORT_PAGE, build.folder / REPORT_MARKDOWN)
    write_tables(document, build.folder / REPORT_TABLES)
    if evidence.answers is not None:
        write_answers(evidence.answers, build.folder / REPORT_PREDICTIONS)
    write_text(build.folder / REPORT_SCORES, scores_csv(evidence.results))
    written = write_item_scores(evidence.runs, build.folder / REPORT_ITEM_SCORES)
    return RowCounts(read=written, kept=written)
