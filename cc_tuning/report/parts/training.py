"""Training: the loss, and for connected runs which layer was chosen in training and at inference."""

from collections.abc import Mapping, Sequence

import polars as pl

from cc_tuning.document.blocks import Figure, Section
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import CONNECTION_LABELS, html_key, listed
from cc_tuning.report.run_evidence import TrainingLog
from cc_tuning.report.training_plots import (
    chosen_layer_figure,
    cosine_figure,
    entropy_figure,
    loss_figure,
    selection_figure,
)


def training_part(evidence: Evidence) -> Section | None:
    """The figures of all families that were trained here; None when nothing was."""
    logs = {family: _logs(evidence, family) for family in evidence.families}
    trained = {family.label: of for family, of in logs.items() if of}
    figures: list[Figure] = [loss_figure(trained)] if trained else []
    figures += _choice_figures({label: [log for log in of if log.layer_counts] for label, of in trained.items()})
    for family, of_family in logs.items():
        choosing = [log for log in of_family if log.layer_counts]
        if choosing:
            figures.append(selection_figure(f"selection-{html_key(family)}", family.label, choosing))
        if counts := _chosen_layers(evidence, family, choosing):
            figures.append(chosen_layer_figure(f"chosen-{html_key(family)}", family.label, counts))
    return Section("training", "Training and the chosen layer", _paragraphs(logs), figures) if figures else None


def _logs(evidence: Evidence, family: Family) -> list[TrainingLog]:
    return [at.training for at in evidence.of(family) if at.training is not None and at.training.steps]


def _paragraphs(logs: Mapping[Family, Sequence[TrainingLog]]) -> list[str]:
    paragraphs = []
    not_tuned = [family.label for family, of_family in logs.items() if not of_family]
    if not_tuned and any(logs.values()):
        paragraphs.append(f"Not tuned here, and so without a curve: {listed(not_tuned)}.")
    if any(len(of_family) > 1 for of_family in logs.values()):
        paragraphs.append("Lines of one colour are the seeds of one method; choices of a layer are those of all seeds.")
    return paragraphs


def _choice_figures(logs: Mapping[str, Sequence[TrainingLog]]) -> list[Figure]:
    """Entropy and cosine of the choice, by label of the families that choose."""
    figures = []
    if with_entropy := _logged(logs, "entropies"):
        layers = max(len(log.layer_counts[0]) for of_family in with_entropy.values() for log in of_family)
        figures.append(entropy_figure(with_entropy, layers))
    if with_cosine := _logged(logs, "cosines"):
        figures.append(cosine_figure(with_cosine))
    return figures


def _logged(logs: Mapping[str, Sequence[TrainingLog]], name: str) -> dict[str, list[TrainingLog]]:
    kept = {label: [log for log in of_family if getattr(log, name)] for label, of_family in logs.items()}
    return {label: of_family for label, of_family in kept.items() if of_family}


def _chosen_layers(evidence: Evidence, family: Family, logs: Sequence[TrainingLog]) -> Mapping[str, list[int]]:
    """How many prompts chose each layer, by kind of connection; empty when no prediction names a layer."""
    predictions = [at.predictions for at in evidence.of(family) if at.predictions is not None]
    chosen = [
        at.select(pl.col("connection").cast(pl.String), "selected_layer").drop_nulls("selected_layer")
        for at in predictions
    ]
    layers_of = pl.concat(chosen) if chosen else pl.DataFrame()
    if not layers_of.height:
        return {}
    largest = layers_of["selected_layer"].max()
    assert isinstance(largest, int)
    layers = max(largest + 1, len(logs[0].layer_counts[0]) if logs else 0)
    counts = {}
    for connection, label in CONNECTION_LABELS.items():
        of_connection = layers_of.filter(pl.col("connection") == connection)["selected_layer"]
        if len(of_connection):
            counts[label] = [int((of_connection == layer).sum()) for layer in range(layers)]
    return counts
