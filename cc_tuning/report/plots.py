"""The drawings of a report. Each comes with a sentence that gives its content in words."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from cc_tuning.document.blocks import Figure, count, number, scientific
from cc_tuning.document.svg import GRID, INK, SERIES, draw_svg, series_style
from cc_tuning.report.evidence import SweepPoint, TrainingLog, TransformDiagnostics

MAX_POINTS = 200
MAX_COLUMNS = 40


def loss_figure(logs: Mapping[str, TrainingLog]) -> Figure:
    """Training loss against the step, one line per run; `logs` is by the run's label."""

    def draw(axes: Axes) -> None:
        for index, (label, log) in enumerate(logs.items()):
            _line(axes, log.steps, log.losses, label, index)
        axes.set(xlabel="optimizer step", ylabel="loss (nats per response token)")
        _legend(axes)

    ends = "; ".join(f"{label} from {number(log.losses[0])} to {number(log.losses[-1])}" for label, log in logs.items())
    alternative = f"Line chart of the training loss over steps: {ends}."
    return Figure("loss", "Training loss", alternative, draw_svg("loss", draw))


def entropy_figure(logs: Mapping[str, TrainingLog], layers: int) -> Figure:
    """Entropy of the Decision Maker's distribution over layers against the step, beside that of a uniform choice."""
    uniform = math.log(layers)

    def draw(axes: Axes) -> None:
        for index, (label, log) in enumerate(logs.items()):
            _line(axes, log.steps, log.entropies, label, index)
        axes.axhline(uniform, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate("uniform choice", (1, uniform), xycoords=("axes fraction", "data"), xytext=(0, 3),
                      textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        axes.set(xlabel="optimizer step", ylabel="selection entropy (nats)")
        axes.set_ylim(0, uniform * 1.14)
        _legend(axes)

    ends = "; ".join(
        f"{label} from {number(log.entropies[0])} to {number(log.entropies[-1])}" for label, log in logs.items()
    )
    alternative = f"Line chart of the selection entropy over steps: {ends}; a uniform choice has {number(uniform)}."
    return Figure("entropy", "Selection entropy in training", alternative, draw_svg("entropy", draw))


def cosine_figure(logs: Mapping[str, TrainingLog]) -> Figure:
    """Cosine between the English vector that is added and the same layer's own activation, against the step."""

    def draw(axes: Axes) -> None:
        for index, (label, log) in enumerate(logs.items()):
            _line(axes, log.steps, log.cosines, label, index)
        axes.set(xlabel="optimizer step", ylabel="cosine, English and own activation")
        _legend(axes)

    ends = "; ".join(
        f"{label} from {number(log.cosines[0])} to {number(log.cosines[-1])}" for label, log in logs.items()
    )
    alternative = (
        f"Line chart of the cosine between the chosen English activation and the same layer's own over steps: {ends}."
    )
    return Figure("cosine", "English and own activation of the chosen layer", alternative, draw_svg("cosine", draw))


def selection_figure(key: str, label: str, log: TrainingLog) -> Figure:
    """How often each layer was chosen in training, over time: columns are equal stretches of steps.

    The shares in a column add up to 1.
    """
    shares, edges = _shares_over_time(log)

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
        f"Heat map of the layer chosen in training of {label}: at first most often layer {first + 1} "
        f"({shares[first, 0]:.0%} of choices), at the end layer {last + 1} ({shares[last, -1]:.0%})."
    )
    return Figure(key, f"Chosen layer in training, {label}", alternative, draw_svg(key, draw))


def chosen_layer_figure(key: str, label: str, counts: Mapping[str, Sequence[int]]) -> Figure:
    """Share of prompts for which each layer was chosen at inference; `counts` is by kind of connection, `[L]` each."""

    def draw(axes: Axes) -> None:
        width = 0.8 / len(counts)
        for index, (connection, of_layers) in enumerate(counts.items()):
            shares = np.asarray(of_layers) / max(sum(of_layers), 1)
            places = np.arange(1, len(of_layers) + 1) + (index - (len(counts) - 1) / 2) * width
            axes.bar(places, shares, width, label=connection, color=SERIES[index], hatch=("", "////")[index % 2],
                     edgecolor=GRID, linewidth=0.4)  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="layer", ylabel="share of prompts", ylim=(0, None))
        axes.grid(axis="x", visible=False)
        _legend(axes)

    words = "; ".join(
        f"{connection}: layer {int(np.argmax(of_layers)) + 1} for {max(of_layers) / max(sum(of_layers), 1):.0%}"
        for connection, of_layers in counts.items()
    )
    alternative = f"Bar chart of the layer chosen at inference by {label}; most often {words} of the prompts."
    return Figure(key, f"Chosen layer at inference, {label}", alternative, draw_svg(key, draw))


def transform_figure(key: str, label: str, diagnostics: TransformDiagnostics) -> Figure:
    """Mean squared error by layer on a logarithmic scale: the matrix on fitted and on held-out pairs, and identity."""
    measured, kind = (diagnostics.held_out, "held-out") if diagnostics.held_out else (diagnostics.fitted, "fitted")
    lines = {f"{kind} pairs": measured.layer_mse["transform"]}
    lines |= {f"identity, {kind} pairs": measured.layer_mse["identity"]}
    if diagnostics.held_out:
        lines |= {"fitted pairs": diagnostics.fitted.layer_mse["transform"]}

    def draw(axes: Axes) -> None:
        for index, (name, values) in enumerate(lines.items()):
            axes.plot(np.arange(1, len(values) + 1), values, label=name, **series_style(index))
        axes.set_yscale("log")
        _label_powers(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="layer", ylabel="mean squared error")
        _legend(axes)

    values = measured.layer_mse["transform"]
    alternative = (
        f"Line chart of the Transform Matrix's mean squared error by layer for {label}; on {kind} pairs between "
        f"{scientific(min(values))} (layer {int(np.argmin(values)) + 1}) and {scientific(max(values))} "
        f"(layer {int(np.argmax(values)) + 1})."
    )
    return Figure(key, f"Transform Matrix error by layer, {label}", alternative, draw_svg(key, draw))


def sweep_figure(key: str, label: str, points: Sequence[SweepPoint]) -> Figure:
    """Mean squared error against the number of fitted pairs, both logarithmic: held-out and fitted pairs (the paper's
    Figure 5 has the latter).
    """
    lines = {"fitted pairs": [(point.pairs, point.mse) for point in points]}
    held_out = [(point.pairs, point.held_out_mse) for point in points if point.held_out_mse is not None]
    if held_out:
        lines = {"held-out pairs": held_out} | lines

    def draw(axes: Axes) -> None:
        for index, (name, values) in enumerate(lines.items()):
            drawn = [value for value in values if value[1] > 0]  # an exact fit has no place on a logarithmic axis
            axes.plot(*np.reshape(drawn, (-1, 2)).T, label=name, **series_style(index))
        axes.set(xscale="log", yscale="log", xlabel="pairs of the fit (M)", ylabel="mean squared error")
        sizes = [point.pairs for point in points]
        axes.set_xticks(sizes, map(count, sizes))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _label_powers(axes.yaxis)
        _legend(axes)

    first, last = points[0], points[-1]
    words = f"on fitted pairs from {scientific(first.mse)} to {scientific(last.mse)}"
    if held_out:
        words = f"on held-out pairs from {scientific(held_out[0][1])} to {scientific(held_out[-1][1])}, {words}"
    alternative = (
        f"Line chart of the Transform Matrix's mean squared error for {label} with {count(first.pairs)} to "
        f"{count(last.pairs)} pairs in the fit: {words}."
    )
    return Figure(key, f"Transform Matrix error by pairs, {label}", alternative, draw_svg(key, draw))


def _label_powers(axis: Axis) -> None:
    """Plain labels of a logarithmic axis; matplotlib's own are TeX, which is not set in an SVG with plain text."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(_tick))
    axis.set_minor_formatter(NullFormatter())


def _line(axes: Axes, steps: Sequence[int], values: Sequence[float], label: str, index: int) -> None:
    """One series; a long one is averaged in equal stretches so that a file of many steps stays a small drawing."""
    at, of = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    if len(at) > MAX_POINTS:
        at = np.asarray([part.mean() for part in np.array_split(at, MAX_POINTS)])
        of = np.asarray([part.mean() for part in np.array_split(of, MAX_POINTS)])
    style = series_style(index)
    axes.plot(at, of, label=label, markevery=max(1, len(at) // 8), **style)


def _tick(value: float, position: int) -> str:
    return scientific(value)


def _legend(axes: Axes) -> None:
    """Above the drawing, where it covers nothing."""
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(len(handles), 2), fontsize=8, handlelength=2.8,
        borderaxespad=0.2, columnspacing=1.6,
    )  # fmt: skip


def _shares_over_time(log: TrainingLog) -> tuple[np.ndarray, np.ndarray]:
    """`[L, columns]` shares and the `columns + 1` step edges."""
    counts = np.asarray(log.layer_counts, dtype=float)
    parts = np.array_split(np.arange(len(counts)), min(MAX_COLUMNS, len(counts)))
    sums = np.stack([counts[part].sum(axis=0) for part in parts], axis=1)
    edges = [0.0, *(float(log.steps[part[-1]]) for part in parts)]
    return sums / np.maximum(sums.sum(axis=0, keepdims=True), 1.0), np.asarray(edges)
