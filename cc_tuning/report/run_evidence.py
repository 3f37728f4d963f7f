"""What one run left behind: its scores, its answers, its training log and its Transform Matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cc_tuning.report.config import ReportedRun
from cc_tuning.report.diagnostics import TransformDiagnostics, read_diagnostics
from cc_tuning.runtime.sources import Location
from cc_tuning.training.metrics import read_metrics
from data_contracts.layout import DIAGNOSTICS, ITEM_SCORES, METRICS, PREDICTIONS, SCORES
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ItemScore, Prediction, Score


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
class RunEvidence:
    """What is known about one run; a part that was not made is None."""

    run: ReportedRun
    item_scores: pl.DataFrame | None = None
    scores: pl.DataFrame | None = None
    predictions: pl.DataFrame | None = None
    training: TrainingLog | None = None
    """None for a run that is not trained here: the base model, or a checkpoint from elsewhere."""
    transform: TransformDiagnostics | None = None


def read_run(run: ReportedRun, inputs: Mapping[str, Location]) -> RunEvidence:
    """What the inputs `evaluate/<name>`, `train/<name>` and `transform/<name>` hold, those that there are.

    Raises:
        ArtifactMismatch: a file is missing, damaged or not what its stage writes.
        ContractViolation: rows do not keep their contract.
    """
    evaluation, training = inputs.get(f"evaluate/{run.name}"), inputs.get(f"train/{run.name}")
    transform = inputs.get(f"transform/{run.name}")
    return RunEvidence(
        run=run,
        item_scores=read_parquet(evaluation.path / ITEM_SCORES, ItemScore) if evaluation else None,
        scores=read_parquet(evaluation.path / SCORES, Score) if evaluation else None,
        predictions=read_parquet(evaluation.path / PREDICTIONS, Prediction) if evaluation else None,
        training=_read_training(training.path / METRICS) if training else None,
        transform=read_diagnostics(transform.path / DIAGNOSTICS) if transform else None,
    )


def summed_choices(logs: Sequence[TrainingLog]) -> TrainingLog:
    """The choices of the layer in several runs together: counts are added up at the steps that all have logged."""
    shared = sorted(set.intersection(*(set(log.steps) for log in logs)))
    counts = [dict(zip(log.steps, log.layer_counts, strict=True)) for log in logs]
    sums = [np.sum([of_run[step] for of_run in counts], axis=0).tolist() for step in shared]
    return TrainingLog(shared, (), layer_counts=sums)


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
