"""How the results were made: what each stage cost, on what it ran, and the recipe."""

from collections.abc import Sequence

import yaml

from cc_tuning.document.blocks import MISSING, Cell, Listing, Section, Table, numeric
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence, StageRecord, titles_of

_MEBIBYTE = 1 << 20
_FINGERPRINT_DIGITS = 12


def making_part(evidence: Evidence) -> Section:
    """Time, memory and versions as far as manifests tell, and the recipe as YAML."""
    recipe = yaml.safe_dump(dict(evidence.config.recipe), sort_keys=False, allow_unicode=True, width=100)
    stages = evidence.stages
    tables = [_cost_table(stages, evidence.families), _versions_table(stages)] if stages else []
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
