"""What the results rest on: the data in short, the rows of each stage, and how it was all made."""

from collections.abc import Sequence

import yaml

from cc_tuning.document.blocks import MISSING, Cell, Listing, Section, Table, count, numeric
from cc_tuning.report.config import Family
from cc_tuning.report.data_card.card import EXAMPLES_TEXT, blocks_of, examples_of, kinds_set_aside
from cc_tuning.report.data_card.tables import language_table, length_table, task_table
from cc_tuning.report.evidence import Evidence, StageRecord, titles_of
from data_contracts.manifest import Manifest

_MEBIBYTE = 1 << 20
_FINGERPRINT_DIGITS = 12
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


def making_part(evidence: Evidence) -> Section:
    """Time, memory and versions as far as manifests tell, and the recipe as YAML."""
    recipe = yaml.safe_dump(dict(evidence.config.recipe), sort_keys=False, allow_unicode=True, width=100)
    stages = evidence.stages
    tables = []
    if stages:
        tables = [_sums_table(stages), _cost_table(stages, evidence.families), _versions_table(stages)]
    return Section("making", "How it was made", [], [*tables, Listing("Recipe", recipe, "yaml")])


def _cost_table(stages: Sequence[StageRecord], families: Sequence[Family]) -> Table:
    """Seconds, peak memory and identity of each stage, as its manifest records them."""
    rows = [
        [
            Cell(stage.manifest.stage, titles_of(stage.runs, families)),
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


def _sums_table(stages: Sequence[StageRecord]) -> Table:
    """What each kind of stage took in all: time, and CPU, GPU and energy as far as manifests have them."""
    by_stage: dict[str, list[Manifest]] = {}
    for stage in stages:
        by_stage.setdefault(stage.manifest.stage, []).append(stage.manifest)
    rows = [[Cell(name), *_sums(manifests)] for name, manifests in by_stage.items()]
    rows.append([Cell("together"), *_sums([stage.manifest for stage in stages])])
    note = (
        "GPU seconds are those in which a kernel ran, energy that of whole cards, as NVML tells them of the machine "
        f"that ran the stage; {MISSING}: not recorded."
    )
    columns = ["stage", "made", "seconds", "CPU seconds", "GPU seconds", "energy, Wh"]
    return Table("sums", "What the stages took", columns, rows, note)


def _sums(manifests: Sequence[Manifest]) -> list[Cell]:
    cpu = [made.cpu_seconds for made in manifests if made.cpu_seconds is not None]
    gpus = [made.gpu for made in manifests if made.gpu]
    joules = [gpu.joules for gpu in gpus if gpu.joules is not None]
    return [
        numeric(count(len(manifests))),
        numeric(f"{sum(made.seconds for made in manifests):,.1f}"),
        numeric(f"{sum(cpu):,.1f}" if cpu else MISSING),
        numeric(f"{sum(gpu.busy_seconds for gpu in gpus):,.1f}" if gpus else MISSING),
        numeric(f"{sum(joules) / 3600:,.1f}" if joules else MISSING),
    ]


def _versions_table(stages: Sequence[StageRecord]) -> Table:
    """Commit and library versions; where stages were made with different ones, all of them."""
    values: dict[str, list[str]] = {}
    for stage in stages:
        for name, version in (("source commit", stage.manifest.commit), *sorted(stage.manifest.versions.items())):
            seen = values.setdefault(name, [])
            if version not in seen:
                seen.append(version)
    rows = [[Cell(name), Cell(", ".join(versions))] for name, versions in values.items()]
    return Table("versions", "Commit and library versions", ["name", "version"], rows, is_folded=True)
