"""The figures of a Transform Matrix that the report shows, as the stage `transform` measured them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json

PREDICTORS = ("transform", "identity", "mean")
_FIT_FIGURES = (
    "matrix", "intercept", "ridge_choice", "rows", "hidden_size", "rank", "ridge", "relative_ridge", "solver",
    "condition_number",
)  # fmt: skip


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
    """One Transform Matrix: how it was fitted, and how well it predicts."""

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


def read_diagnostics(path: Path) -> TransformDiagnostics:
    """The figures in a file of the stage `transform`.

    Raises:
        ArtifactMismatch: the file lacks one of them.
    """
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
