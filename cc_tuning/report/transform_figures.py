"""Figures of the Transform Matrix: R² and error by layer, error by the number of pairs (the paper's Figure 5).

Each has the matrices of a family together, one for each seed; those of several seeds are thin lines of one colour.
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from cc_tuning.document.axes import MAX_POINTS, add_legend, draw_lines, draw_svg, label_powers
from cc_tuning.document.blocks import Figure, count, number, scientific
from cc_tuning.document.svg import INK
from cc_tuning.report.run_evidence import PairErrors, TransformDiagnostics

_Line = tuple[Sequence[float], Sequence[float]]


def within_figure(key: str, label: str, fits: Sequence[TransformDiagnostics]) -> Figure | None:
    """R² within language and layer on held-out pairs, by layer, beside the share of ‖F_en‖² that varies; None where
    some layer has none.
    """
    measured = [fit.within_held_out for fit in fits if fit.within_held_out]
    lines = {"R² on held-out pairs": [_layers(of.layer_r2) for of in measured]}
    lines |= {"share of ‖F_en‖² that varies": [_layers(fit.layer_varying_share) for fit in fits]}
    if not measured or any(line is None for of_seeds in lines.values() for line in of_seeds):
        return None

    def draw(axes: Axes) -> None:
        for index, (name, of_seeds) in enumerate(lines.items()):
            draw_lines(axes, [line for line in of_seeds if line], name, index, marks=MAX_POINTS)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="layer", ylabel="share (1 is all)")
        add_legend(axes)

    values = np.mean([np.asarray(of.layer_r2, dtype=float) for of in measured], axis=0)
    alternative = (
        f"Line chart by layer for {label}: R² within language and layer on held-out pairs between "
        f"{number(values.min())} (layer {values.argmin() + 1}) and {number(values.max())} "
        f"(layer {values.argmax() + 1}){_over_seeds(fits)}; 0 is a constant for each language and layer."
    )
    return Figure(key, f"What the matrix knows of the prompt, {label}", alternative, draw_svg(key, draw))


def _layers(values: Sequence[float | None]) -> _Line | None:
    known = [value for value in values if value is not None]
    return (range(1, len(known) + 1), known) if len(known) == len(values) else None


def error_figure(key: str, label: str, fits: Sequence[TransformDiagnostics]) -> Figure:
    """Mean squared error by layer on a logarithmic scale: the matrix on fitted and on held-out pairs, and identity."""
    held_out = [fit.held_out for fit in fits if fit.held_out]
    measured, kind = (held_out, "held-out") if held_out else ([fit.fitted for fit in fits], "fitted")
    lines = {f"{kind} pairs": _by_layer(measured, "transform")}
    lines |= {f"identity, {kind} pairs": _by_layer(measured, "identity")}
    if held_out:
        lines |= {"fitted pairs": _by_layer([fit.fitted for fit in fits], "transform")}

    def draw(axes: Axes) -> None:
        for index, (name, of_seeds) in enumerate(lines.items()):
            draw_lines(axes, of_seeds, name, index, marks=MAX_POINTS)
        axes.set_yscale("log")
        label_powers(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="layer", ylabel="mean squared error")
        add_legend(axes)

    values = np.mean([errors.layer_mse["transform"] for errors in measured], axis=0)
    alternative = (
        f"Line chart of the Transform Matrix's mean squared error by layer for {label}; on {kind} pairs between "
        f"{scientific(values.min())} (layer {values.argmin() + 1}) and {scientific(values.max())} "
        f"(layer {values.argmax() + 1}){_over_seeds(fits)}."
    )
    return Figure(key, f"Transform Matrix error by layer, {label}", alternative, draw_svg(key, draw))


def sweep_figure(key: str, label: str, fits: Sequence[TransformDiagnostics]) -> Figure:
    """Mean squared error against the number of fitted pairs, both logarithmic, on held-out and on fitted pairs.

    The paper's Figure 5 has the latter. All fits have the same numbers of pairs.
    """
    fitted = [[(point.pairs, point.mse) for point in fit.sweep] for fit in fits]
    held_out = [
        [(point.pairs, point.held_out_mse) for point in fit.sweep if point.held_out_mse is not None] for fit in fits
    ]
    lines = ({"held-out pairs": held_out} if any(held_out) else {}) | {"fitted pairs": fitted}

    def draw(axes: Axes) -> None:
        for index, (name, of_seeds) in enumerate(lines.items()):
            draw_lines(axes, list(map(_drawn, of_seeds)), name, index, marks=MAX_POINTS)
        axes.set(xscale="log", yscale="log", xlabel="pairs of the fit (M)", ylabel="mean squared error")
        sizes = [point.pairs for point in fits[0].sweep]
        axes.set_xticks(sizes, map(count, sizes))
        axes.xaxis.set_minor_formatter(NullFormatter())
        label_powers(axes.yaxis)
        add_legend(axes)

    words = ", ".join(f"on {name} {_ends(of_seeds)}" for name, of_seeds in lines.items())
    alternative = (
        f"Line chart of the Transform Matrix's mean squared error for {label} with {count(fits[0].sweep[0].pairs)} to "
        f"{count(fits[0].sweep[-1].pairs)} pairs in the fit: {words}{_over_seeds(fits)}."
    )
    return Figure(key, f"Transform Matrix error by pairs, {label}", alternative, draw_svg(key, draw))


def _by_layer(measured: Sequence[PairErrors], predictor: str) -> list[_Line]:
    return [(range(1, len(errors.layer_mse[predictor]) + 1), errors.layer_mse[predictor]) for errors in measured]


def _drawn(points: Sequence[tuple[int, float]]) -> _Line:
    """Numbers of pairs and errors; an exact fit has no place on a logarithmic axis."""
    drawn = [point for point in points if point[1] > 0]
    return [pairs for pairs, _ in drawn], [error for _, error in drawn]


def _ends(of_seeds: Sequence[Sequence[tuple[int, float]]]) -> str:
    first, last = (fmean(points[at][1] for points in of_seeds) for at in (0, -1))
    return f"from {scientific(first)} to {scientific(last)}"


def _over_seeds(fits: Sequence[TransformDiagnostics]) -> str:
    return f", on average over {len(fits)} seeds" if len(fits) > 1 else ""
