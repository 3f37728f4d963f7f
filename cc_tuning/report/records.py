"""Tables from manifests: what became of the rows, what a stage cost, and on what it ran."""

from collections.abc import Sequence

from cc_tuning.document.blocks import MISSING, Cell, Table, count, numeric
from cc_tuning.report.evidence import StageRecord
from cc_tuning.report.names import run_label

_MEBIBYTE = 1 << 20
_FINGERPRINT_DIGITS = 12


def counts_table(stages: Sequence[StageRecord]) -> Table:
    """Rows per stage: read = kept + not selected + set aside, in every line (the manifest refuses anything else)."""
    rows = []
    for stage in stages:
        counts = stage.manifest.rows
        aside = sum(counts.quarantined.values())
        numbers = (counts.read, counts.kept, counts.not_selected, aside)
        rows.append([_stage_cell(stage), *(numeric(count(value)) for value in numbers)])
    columns = ["stage", "read", "kept", "not selected", "set aside"]
    return Table("counts", "Rows per stage", columns, rows, "Read = kept + not selected + set aside, in every line.")


def quarantine_table(stages: Sequence[StageRecord]) -> Table | None:
    """Rows set aside, by stage and rule; None when there are none."""
    rows = [
        [_stage_cell(stage), Cell(rule), numeric(count(rows_aside))]
        for stage in stages
        for rule, rows_aside in sorted(stage.manifest.rows.quarantined.items())
        if rows_aside
    ]
    return Table("quarantine", "Set aside, by rule", ["stage", "rule", "rows"], rows) if rows else None


def cost_table(stages: Sequence[StageRecord]) -> Table:
    """Seconds, peak memory and identity of each stage, as its manifest records them."""
    rows = [
        [
            _stage_cell(stage),
            numeric(f"{stage.manifest.seconds:,.1f}"),
            numeric(f"{stage.manifest.peak_memory_bytes / _MEBIBYTE:,.0f}"),
            Cell(stage.manifest.fingerprint[:_FINGERPRINT_DIGITS]),
        ]
        for stage in stages
    ]
    total = sum(stage.manifest.seconds for stage in stages)
    rows.append([Cell("together"), numeric(f"{total:,.1f}"), numeric(MISSING), Cell("")])
    note = "Wall-clock of the process that finished the stage; a resumed stage counts its last part."
    return Table("cost", "Time and memory", ["stage", "seconds", "peak memory, MiB", "fingerprint"], rows, note)


def versions_table(stages: Sequence[StageRecord]) -> Table:
    """Commit and library versions; where stages were made with different ones, all of them."""
    values: dict[str, list[str]] = {}
    for stage in stages:
        for name, version in (("source commit", stage.manifest.commit), *sorted(stage.manifest.versions.items())):
            seen = values.setdefault(name, [])
            if version not in seen:
                seen.append(version)
    rows = [[Cell(name), Cell(", ".join(versions))] for name, versions in values.items()]
    return Table("versions", "Commit and library versions", ["name", "version"], rows, is_folded=True)


def _stage_cell(stage: StageRecord) -> Cell:
    return Cell(stage.manifest.stage, ", ".join(map(run_label, stage.runs)))
