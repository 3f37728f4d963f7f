"""What one run left behind: its scores, its answers, its training log and its Transform Matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cc_tuning.report.config import ReportedRun
from cc_tuning.report.map_quality import (
    Agreement,
    MapChoice,
    PaperMap,
    Strength,
    read_agreement,
    read_choice,
    read_paper_map,
    read_strength,
)
from cc_tuning.runtime.sources import Location
from cc_tuning.training.metrics import read_metrics
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json
from data_contracts.layout import DIAGNOSTICS, EMBEDDING, ITEM_SCORES, METRICS, PREDICTIONS, SCORES, WIN_RATES
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ItemScore, Prediction, Score, WinRate

PREDICTORS = ("transform", "identity", "mean")
_FIT_FIGURES = (
    "features", "matrix", "intercept", "ridge_choice", "rows", "hidden_size", "rank", "ridge", "relative_ridge",
    "solver", "condition_number",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingLog:
    """The logged steps of one training run. The last three are empty for runs without a connection."""

    steps: Sequence[int]
    losses: Sequence[float]
    entropies: Sequence[float] = ()
    cosines: Sequence[float] = ()
    layer_counts: Sequence[Sequence[float]] = ()
    """`[steps, L]`: how often each layer was chosen since the line before."""
    margins: Sequence[float] = ()
    """z of the target prompts, the mean over rows; empty for a run without a preference, as is the next."""
    english_margins: Sequence[float] = ()
    seconds: float | None = None
    """From the first step to the last, over all resumptions; None where the log does not say."""


@dataclass(frozen=True)
class PairErrors:
    """Errors over one set of pairs, by predictor (`transform`, `identity`, `mean`); R² is None where nothing varies."""

    pairs: int
    mse: Mapping[str, float]
    r2: Mapping[str, float | None]
    layer_mse: Mapping[str, Sequence[float]]
    """By predictor, `[L]` each."""


@dataclass(frozen=True)
class WithinLanguages:
    """R² about the mean of each language and layer (`cc_tuning/transform/within.py`); None where nothing varies."""

    pairs: int
    r2: float | None
    """The mean over layers."""
    identity_r2: float | None
    layer_r2: Sequence[float | None]


@dataclass(frozen=True)
class Embedding:
    """Where prompts of three languages stand in one model's output space (`cc_tuning/transform/embedding.py`)."""

    pairs: int
    nearest_is_parallel: float
    language_share: float | None
    variance_shown: Sequence[float]
    points: Mapping[str, Sequence[tuple[float, float]]]
    """By language code, English last."""


@dataclass(frozen=True)
class SweepPoint:
    """The errors of a Transform Matrix fitted on so many pairs; no held-out error where no pair was held out."""

    pairs: int
    mse: float
    held_out_mse: float | None


@dataclass(frozen=True)
class TransformDiagnostics:
    """One Transform Matrix: how it was fitted, and how well it predicts."""

    features: str
    """`layer`, or `all_layers` or `pooled` for a map in two factors."""
    matrix: str
    """`shared` or `per_layer`; the worst layer's rank, ridge and condition number stand for all."""
    intercept: bool | str
    """`per_language` where each language has one."""
    ridge_choice: str
    """`fixed`, `gcv`, or `cv`."""
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
    within: WithinLanguages
    """Of the fitted pairs."""
    within_held_out: WithinLanguages | None
    """None where no pair was held out."""
    varying_share: float | None
    """How much of ‖F_en‖² depends on the prompt, the mean over layers."""
    layer_varying_share: Sequence[float | None]
    language_r2: Mapping[str, float | None]
    """R² of the held-out pairs of a language."""
    constant_r2: Mapping[str, float | None]
    """Of a constant for each language and layer about one mean for all rows, on `fitted` and `held_out` pairs."""
    agreement: Agreement
    strength: Strength
    parameters: int
    multiplications: int
    """A prompt."""
    paper: PaperMap | None
    """None where the map is the paper's."""
    choice: MapChoice | None = None
    """None where there was no map to choose."""
    sweep: Sequence[SweepPoint] = ()
    """By rising number of pairs; empty where none was asked for."""


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
    win_rates: pl.DataFrame | None = None
    """WinRate rows over its baseline; None where nobody judged."""
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    """Of the model before tuning (`base`) and after (`tuned`), those that there are."""


def read_run(run: ReportedRun, inputs: Mapping[str, Location]) -> RunEvidence:
    """What the inputs `evaluate/<name>`, `train/<name>`, `transform/<name>` and `judge/<name>` hold, those there are.

    Raises:
        ArtifactMismatch: a file is missing, damaged or not what its stage writes.
        ContractViolation: rows do not keep their contract.
    """
    evaluation, training = inputs.get(f"evaluate/{run.name}"), inputs.get(f"train/{run.name}")
    transform, judged = inputs.get(f"transform/{run.name}"), inputs.get(f"judge/{run.name}")
    return RunEvidence(
        run=run,
        item_scores=_read_item_scores(evaluation.path / ITEM_SCORES) if evaluation else None,
        scores=read_parquet(evaluation.path / SCORES, Score) if evaluation else None,
        predictions=read_parquet(evaluation.path / PREDICTIONS, Prediction) if evaluation else None,
        training=_read_training(training.path / METRICS) if training else None,
        transform=_read_diagnostics(transform.path / DIAGNOSTICS) if transform else None,
        win_rates=read_parquet(judged.path / WIN_RATES, WinRate) if judged else None,
        embeddings=_read_embeddings(transform.path / EMBEDDING) if transform else {},
    )


def summed_choices(logs: Sequence[TrainingLog]) -> TrainingLog:
    """The choices of the layer in several runs together: counts are added up at the steps that all have logged."""
    shared = sorted(set.intersection(*(set(log.steps) for log in logs)))
    counts = [dict(zip(log.steps, log.layer_counts, strict=True)) for log in logs]
    sums = [np.sum([of_run[step] for of_run in counts], axis=0).tolist() for step in shared]
    return TrainingLog(shared, (), layer_counts=sums)


def _read_item_scores(path: Path) -> pl.DataFrame:
    """ItemScore rows whose texts are categories: millions of rows that repeat a few thousand names."""
    return read_parquet(path, ItemScore).with_columns(pl.col(pl.String, pl.Enum).cast(pl.Categorical))


def _read_training(path: Path) -> TrainingLog:
    lines = [line for line in read_metrics(path) if "loss" in line]
    chosen = [line for line in lines if "selection_counts" in line]
    preferring = [line for line in lines if "english_margin" in line]
    return TrainingLog(
        steps=[line["step"] for line in lines],
        losses=[line["loss"] for line in lines],
        entropies=[line["selection_entropy"] for line in chosen],
        cosines=[line["selection_cosine"] for line in chosen],
        layer_counts=[line["selection_counts"] for line in chosen],
        margins=[line["margin"] for line in preferring],
        english_margins=[line["english_margin"] for line in preferring],
        seconds=lines[-1].get("seconds") if lines else None,
    )


def _read_diagnostics(path: Path) -> TransformDiagnostics:
    figures = read_json(path)
    try:
        return TransformDiagnostics(
            **{name: figures[name] for name in _FIT_FIGURES},
            fitted=_pair_errors(figures, ""),
            held_out=_pair_errors(figures, "held_out_") if figures["held_out_pairs"] else None,
            within=_within(figures, ""),
            within_held_out=_within(figures, "held_out_") if figures["held_out_pairs"] else None,
            varying_share=figures["varying_share"],
            layer_varying_share=figures["layer_varying_share"],
            constant_r2={"fitted": figures["constant_r2"], "held_out": figures["held_out_constant_r2"]},
            agreement=read_agreement(figures),
            strength=read_strength(figures),
            parameters=figures["parameters"],
            multiplications=figures["multiplications"],
            paper=read_paper_map(figures),
            choice=read_choice(figures),
            language_r2={name: of["held_out_within_r2"] for name, of in figures["within_languages"].items()},
            sweep=[
                SweepPoint(point["pairs"], point["mse"], point["held_out_mse"]) for point in figures.get("sweep", ())
            ],
        )
    except KeyError as error:
        raise ArtifactMismatch(f"{path} lacks {error}; run the stage that writes it again") from error


def _read_embeddings(path: Path) -> Mapping[str, Embedding]:
    """By `base` and `tuned`; none where the stage wrote none."""
    if not path.is_file():
        return {}
    return {name: _embedding(figures) for name, figures in read_json(path).items()}


def _embedding(figures: Mapping[str, Any]) -> Embedding:
    points: dict[str, list[tuple[float, float]]] = {}
    for point in figures["points"]:
        points.setdefault(point["language_code"], []).append((point["x"], point["y"]))
    return Embedding(
        pairs=figures["pairs"],
        nearest_is_parallel=figures["nearest_is_parallel"],
        language_share=figures["language_share"],
        variance_shown=figures["variance_shown"],
        points=points,
    )


def _within(figures: Mapping[str, Any], prefix: str) -> WithinLanguages:
    return WithinLanguages(
        pairs=figures[f"{prefix}within_pairs"],
        r2=figures[f"{prefix}within_r2"],
        identity_r2=figures[f"{prefix}within_identity_r2"],
        layer_r2=figures[f"{prefix}layer_within_r2"],
    )


def _pair_errors(figures: Mapping[str, Any], prefix: str) -> PairErrors:
    owners = {name: "" if name == "transform" else f"{name}_" for name in PREDICTORS}
    return PairErrors(
        pairs=figures[f"{prefix}pairs"],
        mse={name: figures[f"{prefix}{owner}mse"] for name, owner in owners.items()},
        r2={name: figures[f"{prefix}{owner}r2"] for name, owner in owners.items()},
        layer_mse={name: figures[f"{prefix}layer_{owner}mse"] for name, owner in owners.items()},
    )
