"""What the earlier stages left behind, read once and checked: the only place where the report touches artifacts.

Inputs are named as in the plan: `select`, `translate`, `items`, any stage of the embedded default, and
`<stage>/<run>` for `materialize`, `train`, `transform` and `evaluate`. Any of them may be missing; the report then says
so or leaves the part out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.items import load_items
from cc_tuning.report.data_card.collecting import collect_figures
from cc_tuning.report.data_card.counts import DataFigures
from cc_tuning.report.data_card.examples import PairExample, draw_examples
from cc_tuning.runtime.sources import Location
from cc_tuning.training.metrics import read_metrics
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json
from data_contracts.layout import DIAGNOSTICS, ITEM_SCORES, METRICS, PAIRS, PREDICTIONS, SCORES
from data_contracts.manifest import Manifest
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ItemScore, Prediction, Score
from data_contracts.store import MANIFEST

PREDICTORS = ("transform", "identity", "mean")
_FIT_FIGURES = (
    "matrix", "intercept", "ridge_choice", "rows", "hidden_size", "rank", "ridge", "relative_ridge", "solver",
    "condition_number",
)  # fmt: skip
STAGE_ORDER = (
    "world", "base_model", "translator", "select", "translate", "distill", "materialize", "train", "transform",
    "evaluate",
)  # fmt: skip


@dataclass(frozen=True)
class StageRecord:
    """One artifact that the report was made from, and the runs that used it (none: all of them)."""

    runs: tuple[str, ...]
    manifest: Manifest


@dataclass(frozen=True)
class TrainingLog:
    """The logged steps of one training run. The last three are empty for runs without a connection."""

    steps: Sequence[int]
    losses: Sequence[float]
    entropies: Sequence[float] = ()
    cosines: Sequence[float] = ()
    layer_counts: Sequence[Sequence[float]] = ()
    """`[steps, L]`: how often each layer was chosen since the line before."""


@dataclass(frozen=True)
class PairErrors:
    """Errors over one set of pairs, by predictor (`transform`, `identity`, `mean`); R² is None where nothing varies."""

    pairs: int
    mse: Mapping[str, float]
    r2: Mapping[str, float | None]
    layer_mse: Mapping[str, Sequence[float]]
    """By predictor, `[L]` each."""


@dataclass(frozen=True)
class SweepPoint:
    """The errors of a Transform Matrix fitted on so many pairs; no held-out error where no pair was held out."""

    pairs: int
    mse: float
    held_out_mse: float | None


@dataclass(frozen=True)
class TransformDiagnostics:
    """The figures of a Transform Matrix that the report shows, as the stage `transform` measured them."""

    matrix: str
    """`shared` or `per_layer`; the worst layer's rank, ridge and condition number stand for all."""
    intercept: bool
    ridge_choice: str
    """`fixed` or `gcv`."""
    rows: int
    hidden_size: int
    rank: int
    ridge: float
    """Absolute."""
    relative_ridge: float
    solver: str
    condition_number: float
    fitted: PairErrors
    held_out: PairErrors | None
    sweep: Sequence[SweepPoint] = ()
    """By rising number of pairs; empty where none was asked for."""


@dataclass(frozen=True)
class RunEvidence:
    """What is known about one run; a part that was not made is None or empty."""

    name: str
    item_scores: pl.DataFrame | None = None
    scores: pl.DataFrame | None = None
    predictions: pl.DataFrame | None = None
    training: TrainingLog | None = None
    transform: TransformDiagnostics | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything the report is made from."""

    runs: tuple[RunEvidence, ...]
    stages: tuple[StageRecord, ...]
    items: pl.DataFrame | None
    """BenchmarkItem rows, for the samples; None when they were not given."""
    data: DataFigures
    """Empty where a data stage is missing."""
    pairs: tuple[PairExample, ...]
    """A few pairs of each language."""


def collect_evidence(runs: Sequence[str], inputs: Mapping[str, Location], seed: int = 0) -> Evidence:
    """Read every input of a report; `seed` draws the examples of the data.

    Raises:
        ConfigError: an input belongs to a run that is not in `runs`.
        ArtifactMismatch: a file is missing, damaged or not what its stage writes.
        ContractViolation: rows do not keep their contract.
    """
    for name in inputs:
        _, _, run = name.partition("/")
        if run and run not in runs:
            raise ConfigError(f"report: input {name} belongs to no run of this report; its runs are {', '.join(runs)}")
    items, translate = inputs.get("items"), inputs.get("translate")
    return Evidence(
        runs=tuple(_read_run(run, inputs) for run in runs),
        stages=_read_stages(inputs),
        items=load_items(items.path).items if items is not None and items.is_local else None,
        data=collect_figures(inputs),
        pairs=draw_examples(translate.path / PAIRS, seed) if translate else (),
    )


def _read_run(run: str, inputs: Mapping[str, Location]) -> RunEvidence:
    evaluation, training = inputs.get(f"evaluate/{run}"), inputs.get(f"train/{run}")
    transform = inputs.get(f"transform/{run}")
    item_scores = read_parquet(evaluation.path / ITEM_SCORES, ItemScore) if evaluation else None
    scores = read_parquet(evaluation.path / SCORES, Score) if evaluation else None
    predictions = read_parquet(evaluation.path / PREDICTIONS, Prediction) if evaluation else None
    return RunEvidence(
        name=run,
        item_scores=item_scores,
        scores=scores,
        predictions=predictions,
        training=_read_training(training.path / METRICS) if training else None,
        transform=_read_diagnostics(transform.path / DIAGNOSTICS) if transform else None,
    )


def _read_training(path: Path) -> TrainingLog:
    lines = [line for line in read_metrics(path) if "loss" in line]
    chosen = [line for line in lines if "selection_counts" in line]
    return TrainingLog(
        steps=[line["step"] for line in lines],
        losses=[line["loss"] for line in lines],
        entropies=[line["selection_entropy"] for line in chosen],
        cosines=[line["selection_cosine"] for line in chosen],
        layer_counts=[line["selection_counts"] for line in chosen],
    )


def _read_stages(inputs: Mapping[str, Location]) -> tuple[StageRecord, ...]:
    """The manifests behind the inputs, each artifact once, in the pipeline's order."""
    manifests: dict[tuple[str, str], Manifest] = {}
    users: dict[tuple[str, str], list[str]] = {}
    for name, location in inputs.items():
        path = location.path / MANIFEST if location.is_local and name != "items" else None
        if path is None or not path.is_file():
            continue  # a user's own file or folder has no manifest, and the items are a part of an artifact at most
        manifest = _read_manifest(path)
        key = (manifest.stage, manifest.fingerprint)
        manifests[key] = manifest
        run = name.partition("/")[2]
        users.setdefault(key, []).extend([run] if run else [])
    records = [StageRecord(tuple(users[key]), manifest) for key, manifest in manifests.items()]
    return tuple(sorted(records, key=lambda record: _stage_place(record.manifest.stage)))


def _stage_place(stage: str) -> int:
    return STAGE_ORDER.index(stage) if stage in STAGE_ORDER else len(STAGE_ORDER)


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate(read_json(path))
    except ValidationError as error:
        raise ArtifactMismatch(f"{path} is not a manifest this version reads: {error}") from error


def _read_diagnostics(path: Path) -> TransformDiagnostics:
    figures = read_json(path)
    try:
        return TransformDiagnostics(
            **{name: figures[name] for name in _FIT_FIGURES},
            fitted=_pair_errors(figures, ""),
            held_out=_pair_errors(figures, "held_out_") if figures["held_out_pairs"] else None,
            sweep=[
                SweepPoint(point["pairs"], point["mse"], point["held_out_mse"]) for point in figures.get("sweep", ())
            ],
        )
    except KeyError as error:
        raise ArtifactMismatch(f"{path} lacks {error}; run the stage that writes it again") from error


def _pair_errors(figures: Mapping[str, Any], prefix: str) -> PairErrors:
    owners = {name: "" if name == "transform" else f"{name}_" for name in PREDICTORS}
    return PairErrors(
        pairs=figures[f"{prefix}pairs"],
        mse={name: figures[f"{prefix}{owner}mse"] for name, owner in owners.items()},
        r2={name: figures[f"{prefix}{owner}r2"] for name, owner in owners.items()},
        layer_mse={name: figures[f"{prefix}layer_{owner}mse"] for name, owner in owners.items()},
    )
