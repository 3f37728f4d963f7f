"""Training: the loss (the paper's Figure 6), and for connected runs how the choice of a layer went.

The figures take logs by the label of their family, one for each of its seeds, which are drawn as thin lines of one
colour. Each figure has a sentence that gives its content in words.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cc_tuning.document.axes import add_legend, draw_lines, draw_svg
from cc_tuning.document.blocks import Figure, Section, number
from cc_tuning.document.svg import INK
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import html_key, listed
from cc_tuning.report.run_evidence import TrainingLog, summed_choices
from cc_tuning.report.trained_runs import differ_in_connection_only

_MAX_COLUMNS = 40

_Logs = Mapping[str, Sequence[TrainingLog]]


def training_part(evidence: Evidence) -> Section | None:
    """The figures of all families that were trained here; None when nothing was."""
    logs = {family: _logs(evidence, family) for family in evidence.families}
    trained = {family.label: of for family, of in logs.items() if of}
    figures: list[Figure] = [_loss_figure(trained)] if trained else []
    figures += _choice_figures({label: [log for log in of if log.layer_counts] for label, of in trained.items()})
    for family, of_family in logs.items():
        choosing = [log for log in of_family if log.layer_counts]
        if choosing:
            figures.append(_selection_figure(f"selection-{html_key(family)}", family.label, choosing))
    if not figures:
        return None
    return Section("training", "Training", [*_paragraphs(logs), *_against_baselines(evidence, logs)], figures)


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


def _against_baselines(evidence: Evidence, logs: Mapping[Family, Sequence[TrainingLog]]) -> list[str]:
    """How far the loss of a family ends from that of its baseline, where both learned the same rows alike."""
    by_name = {family.name: family for family in logs}
    sentences = []
    for family, of_family in logs.items():
        plain = by_name.get(family.baseline)
        if plain and of_family and logs[plain] and differ_in_connection_only(evidence.stages, family, plain):
            ours, baseline = (fmean(map(_last_loss, each)) for each in (of_family, logs[plain]))
            sentences.append(
                f"{family.label} ends at a loss of {number(ours, 3)}, {plain.label} at {number(baseline, 3)} "
                f"({number(100 * (ours / baseline - 1), 1, '+')} %; mean of the last tenth of the steps)."
            )
    if sentences:
        sentences.append("The paper finds the curves of the two closely aligned (Figure 6).")
    return sentences


def _last_loss(log: TrainingLog) -> float:
    """The mean loss over the last tenth of the logged steps."""
    return fmean(log.losses[-max(1, len(log.losses) // 10) :])


def _choice_figures(logs: _Logs) -> list[Figure]:
    """Entropy and cosine of the choice, by label of the families that choose."""
    figures = []
    if with_entropy := _logged(logs, "entropies"):
        layers = max(len(log.layer_counts[0]) for of_family in with_entropy.values() for log in of_family)
        figures.append(_entropy_figure(with_entropy, layers))
    if with_cosine := _logged(logs, "cosines"):
        figures.append(_cosine_figure(with_cosine))
    return figures


def _logged(logs: _Logs, name: str) -> dict[str, list[TrainingLog]]:
    kept = {label: [log for log in of_family if getattr(log, name)] for label, of_family in logs.items()}
    return {label: of_family for label, of_family in kept.items() if of_family}


def _loss_figure(logs: _Logs) -> Figure:
    """Training loss against the step."""

    def draw(axes: Axes) -> None:
        _draw_series(axes, logs, lambda log: log.losses)
        axes.set(xlabel="optimizer step", ylabel="loss (nats per response token)")
        add_legend(axes)

    alternative = f"Line chart of the training loss over steps: {_ends(logs, lambda log: log.losses)}."
    return Figure("loss", "Training loss", alternative, draw_svg("loss", draw))


def _entropy_figure(logs: _Logs, layers: int) -> Figure:
    """Entropy of the Decision Maker's distribution over layers against the step, beside that of a uniform choice."""
    uniform = math.log(layers)

    def draw(axes: Axes) -> None:
        _draw_series(axes, logs, lambda log: log.entropies)
        axes.axhline(uniform, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate("uniform choice", (1, uniform), xycoords=("axes fraction", "data"), xytext=(0, 3),
                      textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        axes.set(xlabel="optimizer step", ylabel="selection entropy (nats)")
        axes.set_ylim(0, uniform * 1.14)
        add_legend(axes)

    ends = _ends(logs, lambda log: log.entropies)
    alternative = f"Line chart of the selection entropy over steps: {ends}; a uniform choice has {number(uniform)}."
    return Figure("entropy", "Selection entropy in training", alternative, draw_svg("entropy", draw))


def _cosine_figure(logs: _Logs) -> Figure:
    """Cosine between the English vector that is added and the same layer's own activation, against the step."""

    def draw(axes: Axes) -> None:
        _draw_series(axes, logs, lambda log: log.cosines)
        axes.set(xlabel="optimizer step", ylabel="cosine, English and own activation")
        add_legend(axes)

    alternative = (
        "Line chart of the cosine between the chosen English activation and the same layer's own over steps: "
        f"{_ends(logs, lambda log: log.cosines)}."
    )
    return Figure("cosine", "English and own activation of the chosen layer", alternative, draw_svg("cosine", draw))


def _selection_figure(key: str, label: str, logs: Sequence[TrainingLog]) -> Figure:
    """How often each layer was chosen in training, over time: columns are equal stretches of steps.

    The shares in a column add up to 1; with several seeds they are shares of the choices of all of them.
    """
    shares, edges = _shares_over_time(summed_choices(logs))

    def draw(axes: Axes) -> None:
        image = axes.pcolormesh(edges, np.arange(shares.shape[0] + 1) + 0.5, shares, cmap="cividis", vmin=0.0,
                                edgecolors="face", linewidth=0.4)  # fmt: skip
        bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("share of choices")
        bar.outline.set_visible(False)
        axes.grid(False)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.set(xlabel="optimizer step", ylabel="layer")

    first, last = int(shares[:, 0].argmax()), int(shares[:, -1].argmax())
    alternative = (
        f"Heat map of the layer chosen in training of {_with_seeds(label, logs)}: at first most often layer "
        f"{first + 1} ({shares[first, 0]:.0%} of choices), at the end layer {last + 1} ({shares[last, -1]:.0%})."
    )
    return Figure(key, f"Chosen layer in training, {label}", alternative, draw_svg(key, draw))


def _draw_series(axes: Axes, logs: _Logs, values: Callable[[TrainingLog], Sequence[float]]) -> None:
    for index, (label, of_family) in enumerate(logs.items()):
        draw_lines(axes, [(log.steps, values(log)) for log in of_family], _with_seeds(label, of_family), index)


def _ends(logs: _Logs, values: Callable[[TrainingLog], Sequence[float]]) -> str:
    """Where each series begins and ends; with several seeds, on average over them."""
    parts = []
    for label, of_family in logs.items():
        first, last = (fmean(values(log)[at] for log in of_family) for at in (0, -1))
        mean = "on average " if len(of_family) > 1 else ""
        parts.append(f"{_with_seeds(label, of_family)} {mean}from {number(first)} to {number(last)}")
    return "; ".join(parts)


def _with_seeds(label: str, logs: Sequence[TrainingLog]) -> str:
    return label if len(logs) == 1 else f"{label} ({len(logs)} seeds)"


def _shares_over_time(log: TrainingLog) -> tuple[np.ndarray, np.ndarray]:
    """`[L, columns]` shares and the `columns + 1` step edges."""
    counts = np.asarray(log.layer_counts, dtype=float)
    parts = np.array_split(np.arange(len(counts)), min(_MAX_COLUMNS, len(counts)))
    sums = np.stack([counts[part].sum(axis=0) for part in parts], axis=1)
    edges = [0.0, *(float(log.steps[part[-1]]) for part in parts)]
    return sums / np.maximum(sums.sum(axis=0, keepdims=True), 1.0), np.asarray(edges)
