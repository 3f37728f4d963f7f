"""The data of the recipe in short (its data card has it in full), and what became of the rows of each stage."""

from collections.abc import Sequence

from cc_tuning.document.blocks import Cell, Section, Table, count, numeric
from cc_tuning.report.config import Family
from cc_tuning.report.data_card.card import EXAMPLES_TEXT, blocks_of, examples_of, kinds_set_aside
from cc_tuning.report.data_card.tables import language_table, length_table, task_table
from cc_tuning.report.evidence import Evidence, StageRecord, titles_of

_LONGEST = 500
"""Characters of an example before it is cut."""


def data_part(evidence: Evidence) -> Section | None:
    """One table by language, and the rest folded; None when no data stage is known."""
    data = evidence.data
    if not data.languages:
        return None
    tables = [language_table(data), task_table(data), length_table(data, is_folded=True)]
    blocks = blocks_of(*tables, *examples_of(data, evidence.pairs, _LONGEST, is_folded=True))
    return Section("data", "Data", [*_other_data(evidence), *kinds_set_aside(data), EXAMPLES_TEXT], blocks)


def rows_part(evidence: Evidence) -> Section:
    """Rows kept, not selected and set aside by each stage; a sentence where the inputs have no manifests."""
    stages, families = evidence.stages, evidence.families
    if not stages:
        return Section("rows", "Rows", ["The inputs carry no manifests, so rows were not counted."])
    tables = [_counts_table(stages, families)]
    if aside := _quarantine_table(stages, families):
        text = "Rows that break a rule are set aside with the rule's name and kept in the stage's quarantine.parquet."
        return Section("rows", "Rows", [text], [*tables, aside])
    return Section("rows", "Rows", ["No row was set aside."], tables)


def _other_data(evidence: Evidence) -> list[str]:
    """Whose pairs are not those of the tables, because a run changes a key of its data."""
    own = {run for at in evidence.stages if at.manifest.stage in ("select", "translate") for run in at.runs}
    return [f"The pairs of {titles_of(own, evidence.families)} are others and not shown here."] if own else []


def _counts_table(stages: Sequence[StageRecord], families: Sequence[Family]) -> Table:
    """Rows per stage: read = kept + not selected + set aside, in every line (the manifest refuses anything else)."""
    rows = []
    for stage in stages:
        counts = stage.manifest.rows
        aside = sum(counts.quarantined.values())
        numbers = (counts.read, counts.kept, counts.not_selected, aside)
        rows.append(
            [Cell(stage.manifest.stage, titles_of(stage.runs, families)), *(numeric(count(at)) for at in numbers)]
        )
    columns = ["stage", "read", "kept", "not selected", "set aside"]
    return Table("counts", "Rows per stage", columns, rows, "Read = kept + not selected + set aside, in every line.")


def _quarantine_table(stages: Sequence[StageRecord], families: Sequence[Family]) -> Table | None:
    """Rows set aside, by stage and rule; None when there are none."""
    rows = [
        [Cell(stage.manifest.stage, titles_of(stage.runs, families)), Cell(rule), numeric(count(rows_aside))]
        for stage in stages
        for rule, rows_aside in sorted(stage.manifest.rows.quarantined.items())
        if rows_aside
    ]
    return Table("quarantine", "Set aside, by rule", ["stage", "rule", "rows"], rows) if rows else None
