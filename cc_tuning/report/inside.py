"""What happened inside the runs: the Transform Matrix, the losses, and which layer the Decision Maker chose."""

from collections.abc import Mapping, Sequence

import polars as pl

from cc_tuning.document.blocks import Cell, Figure, Section, Table, count, number, numeric, scientific
from cc_tuning.report.evidence import Evidence, PairErrors, RunEvidence, TransformDiagnostics
from cc_tuning.report.names import run_label
from cc_tuning.report.plots import (
    chosen_layer_figure,
    cosine_figure,
    entropy_figure,
    loss_figure,
    selection_figure,
    sweep_figure,
    transform_figure,
)

_PREDICTORS = {"transform": "Transform Matrix", "identity": "identity", "mean": "mean"}
_FORMS = {"shared": "one matrix for all layers", "per_layer": "one matrix per layer"}
_RIDGE_CHOICES = {"fixed": "", "gcv": "by cross-validation"}
_CONNECTED = {"transform": "Transform Matrix", "parallel": "real English prompt"}


def transform_section(evidence: Evidence) -> list[Section]:
    """How well the Transform Matrix of each run predicts English activations; nothing when no run has one."""
    fitted = [(run, run.transform) for run in evidence.runs if run.transform is not None]
    if not fitted:
        return []
    text = (
        "The matrix maps activations of a prompt to those of its English parallel. R² is 1 for a perfect prediction "
        "and 0 for the mean of the same rows; identity uses the activations unchanged, mean is the average English "
        "activation of the fitted pairs. Held-out pairs were not fitted, so theirs are the figures that tell about "
        "new prompts."
    )
    figures = [transform_figure(f"transform-{_key(run)}", run_label(run.name), fit) for run, fit in fitted]
    figures += [
        sweep_figure(f"sweep-{_key(run)}", run_label(run.name), fit.sweep) for run, fit in fitted if len(fit.sweep) > 1
    ]
    return [Section("transform", "Transform Matrix", [text], [_fit_table(fitted), _error_table(fitted), *figures])]


def learning_section(evidence: Evidence) -> list[Section]:
    """Loss, and for connected runs the choice of the layer in training and at inference."""
    trained = [(run, run.training) for run in evidence.runs if run.training is not None]
    logs = {run_label(run.name): log for run, log in trained if log.steps}
    choosing = {label: log for label, log in logs.items() if log.layer_counts}
    figures: list[Figure] = [loss_figure(logs)] if logs else []
    if any(log.entropies for log in choosing.values()):
        layers = max(len(log.layer_counts[0]) for log in choosing.values())
        figures.append(entropy_figure({at: log for at, log in choosing.items() if log.entropies}, layers))
    if comparing := {label: log for label, log in choosing.items() if log.cosines}:
        figures.append(cosine_figure(comparing))
    for run in evidence.runs:
        label = run_label(run.name)
        if label in choosing:
            figures.append(selection_figure(f"selection-{_key(run)}", label, choosing[label]))
        if counts := _chosen_layers(run, choosing[label].layer_counts if label in choosing else ()):
            figures.append(chosen_layer_figure(f"chosen-{_key(run)}", label, counts))
    return [Section("training", "Training and the chosen layer", [], figures)] if figures else []


def _chosen_layers(run: RunEvidence, layer_counts: Sequence[Sequence[float]]) -> Mapping[str, list[int]]:
    """How many prompts chose each layer, by kind of connection; empty when no prediction names a layer."""
    if run.predictions is None:
        return {}
    chosen = run.predictions.filter(pl.col("selected_layer").is_not_null())
    if not chosen.height:
        return {}
    largest = chosen["selected_layer"].max()
    assert isinstance(largest, int)
    layers = max(largest + 1, len(layer_counts[0]) if layer_counts else 0)
    counts = {}
    for connection, label in _CONNECTED.items():
        of_connection = chosen.filter(pl.col("connection").cast(pl.String) == connection)["selected_layer"]
        if len(of_connection):
            counts[label] = [int((of_connection == layer).sum()) for layer in range(layers)]
    return counts


def _fit_table(fitted: Sequence[tuple[RunEvidence, TransformDiagnostics]]) -> Table:
    rows = [
        [
            Cell(run_label(run.name), _form(fit)),
            numeric(count(fit.fitted.pairs)),
            numeric(count(fit.held_out.pairs if fit.held_out else 0)),
            numeric(count(fit.rows)),
            numeric(f"{count(fit.rank)} of {count(fit.hidden_size)}"),
            numeric(scientific(fit.condition_number)),
            numeric(f"{scientific(fit.relative_ridge)}", _RIDGE_CHOICES[fit.ridge_choice]),
            Cell(fit.solver),
        ]
        for run, fit in fitted
    ]
    columns = [
        "run", "fitted pairs", "held-out pairs", "fitted rows", "rank", "condition number", "ridge", "solver",
    ]  # fmt: skip
    note = "A fitted row is one layer of one pair. The ridge is relative to the mean of the diagonal of AᵀA."
    if any(fit.matrix == "per_layer" for _, fit in fitted):
        note += " With a matrix per layer, rank, condition number and ridge are those of the worst layer."
    return Table("transform-fit", "The fit", columns, rows, note)


def _form(fit: TransformDiagnostics) -> str:
    return _FORMS[fit.matrix] + (", with intercept" if fit.intercept else "")


def _error_table(fitted: Sequence[tuple[RunEvidence, TransformDiagnostics]]) -> Table:
    rows = [
        [Cell(run_label(run.name), kind), *_errors(errors)]
        for run, fit in fitted
        for kind, errors in (("fitted pairs", fit.fitted), ("held-out pairs", fit.held_out))
        if errors is not None
    ]
    columns = [f"{error}, {label}" for error in ("MSE", "R²") for label in _PREDICTORS.values()]
    return Table("transform-errors", "Errors", ["run", *columns], rows)


def _errors(errors: PairErrors) -> list[Cell]:
    squared = [numeric(scientific(errors.mse.get(name))) for name in _PREDICTORS]
    return [*squared, *(numeric(number(errors.r2.get(name), 3)) for name in _PREDICTORS)]


def _key(run: RunEvidence) -> str:
    """The run's name where only letters, digits and hyphens are allowed."""
    return run.name.replace("+", "-with-")
