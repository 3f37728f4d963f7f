"""What the earlier stages left behind, read once and checked: the only place where the report touches artifacts.

Inputs are named as in the plan: `select`, `translate`, `distill`, `items`, any stage of the embedded default, and
`<stage>/<run>` for `materialize`, `train`, `transform`, `evaluate`, and for what comes before them where a run has its
own. Any of them may be missing; the report then says so or leaves the part out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.items import load_items
from cc_tuning.evaluation.sources.records import SourceRecord, read_source_records
from cc_tuning.report.answers import Answers, read_answers
from cc_tuning.report.config import Family, ReportConfig
from cc_tuning.report.data_card.collecting import collect_counts
from cc_tuning.report.data_card.counts import DataCounts
from cc_tuning.report.data_card.examples import PairExample, draw_examples
from cc_tuning.report.results import Results
from cc_tuning.report.run_evidence import RunEvidence, read_run
from cc_tuning.report.scores import Bootstrap
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.stage_table import ITEMS, STAGES
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json
from data_contracts.layout import PAIRS
from data_contracts.manifest import Manifest
from data_contracts.manifest_file import MANIFEST


@dataclass(frozen=True)
class StageRecord:
    """One artifact that the report was made from."""

    runs: tuple[str, ...]
    """Names of the runs that used it; none: all of them."""
    manifest: Manifest


@dataclass(frozen=True)
class Evidence:
    """Everything that a part of the report is made from."""

    config: ReportConfig
    """Settings of the report, and the recipe."""
    runs: tuple[RunEvidence, ...]
    results: Results
    stages: tuple[StageRecord, ...]
    items: pl.DataFrame | None
    """BenchmarkItem rows, for the samples; None when they were not given."""
    answers: Answers | None
    """Of all runs; None when no run has any."""
    data: DataCounts
    """Empty where a data stage is missing."""
    pairs: tuple[PairExample, ...]
    """A few pairs of each language."""
    sources: Mapping[str, SourceRecord] = field(default_factory=dict)
    """Of the benchmarks' items, where they were made of published data sets."""

    @property
    def families(self) -> tuple[Family, ...]:
        """All families, evaluated or not."""
        return self.config.families

    def of(self, family: Family) -> tuple[RunEvidence, ...]:
        """What is known about the runs of a family."""
        return tuple(evidence for evidence in self.runs if evidence.run.family == family.name)


def collect_evidence(config: ReportConfig, inputs: Mapping[str, Location]) -> Evidence:
    """Read every input of a report.

    Raises:
        ConfigError: an input belongs to a run that the report does not have.
        ArtifactMismatch: a file is missing, damaged or not what its stage writes.
        ContractViolation: rows do not keep their contract.
    """
    names = [run.name for run in config.runs]
    for name in inputs:
        _, _, run = name.partition("/")
        if run and run not in names:
            raise ConfigError(f"report: input {name} belongs to no run of this report; its runs are {', '.join(names)}")
    items, translate = inputs.get("items"), inputs.get("translate")
    runs = tuple(read_run(run, inputs) for run in config.runs)
    bootstrap = Bootstrap(config.bootstrap_samples, config.confidence, config.seed)
    results = Results(config.families, runs, bootstrap)
    results.comparisons(measures=results.measures)  # what is asked for together is computed together, much faster
    loaded = load_items(items.path).items if items is not None and items.is_local else None
    return Evidence(
        config=config,
        runs=runs,
        results=results,
        stages=_read_stages(inputs, names),
        items=loaded,
        answers=read_answers(runs, loaded, results.item_scores),
        data=collect_counts(inputs),
        pairs=draw_examples(translate.path / PAIRS, config.seed) if translate else (),
        sources=read_source_records(items.path) if items is not None and items.is_local else {},
    )


def titles_of(runs: Collection[str], families: Sequence[Family]) -> str:
    """Runs by name as a page lists them: whole families by their label, otherwise single runs; empty for none."""
    titles: list[str] = []
    for family in families:
        named = [run for run in family.runs if run.name in runs]
        titles += [family.label] if len(named) == family.seeds else map(family.title, named)
    return ", ".join(titles)


def _read_stages(inputs: Mapping[str, Location], runs: Sequence[str]) -> tuple[StageRecord, ...]:
    """The manifests behind the inputs, each artifact once, in the order of the pipeline and of the runs."""
    manifests: dict[tuple[str, str], Manifest] = {}
    used_by: dict[tuple[str, str], list[str]] = {}
    for name, location in inputs.items():
        is_artifact = location.is_local and (name != "items" or location.path.parent.name == ITEMS.name)
        path = location.path / MANIFEST if is_artifact else None
        if path is None or not path.is_file():
            continue  # a user's own file or folder has no manifest; items may be such a folder, or a part of the world
        manifest = _read_manifest(path)
        key = (manifest.stage, manifest.fingerprint)
        manifests[key] = manifest
        run = name.partition("/")[2]
        used_by.setdefault(key, []).extend([run] if run else [])
    stages = list(STAGES)
    places = {
        key: (stages.index(key[0]) if key[0] in stages else len(stages), min(map(runs.index, used_by[key]), default=0))
        for key in manifests
    }
    return tuple(StageRecord(tuple(used_by[key]), manifests[key]) for key in sorted(manifests, key=places.__getitem__))


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate(read_json(path))
    except ValidationError as error:
        raise ArtifactMismatch(f"{path} is not a manifest this version reads: {error}") from error
