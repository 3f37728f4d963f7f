"""The Transform Matrix of each run: how it was fitted, and how well it predicts English activations.

The figures have the matrices of a family together, one for each seed; those of several seeds are thin lines of one
colour. Each figure has a sentence that gives its content in words.
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from cc_tuning.document.axes import MAX_POINTS, add_legend, draw_lines, draw_svg, label_powers
from cc_tuning.document.blocks import Cell, Figure, Section, Table, count, number, numeric, scientific
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import html_key
from cc_tuning.report.run_evidence import PairErrors, TransformDiagnostics

_PREDICTORS = {"transform": "Transform Matrix", "identity": "identity", "mean": "mean"}
_FORMS = {"shared": "one matrix for all layers", "per_layer": "one matrix per layer"}
_RIDGE_CHOICES = {"fixed": "", "gcv": "by cross-validation"}
_TEXT = (
    "The matrix maps activations of a prompt to those of its English parallel. R² is 1 for a perfect prediction and 0 "
    "for the mean of the same rows; identity uses the activations unchanged, mean is the average English activation of "
    "the fitted pairs. Held-out pairs were not fitted, so theirs are the figures that tell about new prompts."
)

_Line = tuple[Sequence[float], Sequence[float]]
_Titled = Sequence[tuple[str, TransformDiagnostics]]


def transform_part(evidence: Evidence) -> Section | None:
    """A row for each run's matrix, and a figure for each family's; None when no run has one."""
    titled = [
        (family.title(at.run), at.transform)
        for family in evidence.families
        for at in evidence.of(family)
        if at.transform is not None
    ]
    if not titled:
        return None
    fits = {family: _fits(evidence, family) for family in evidence.families}
    figures = [_layer_figure(f"transform-{html_key(at)}", at.label, of) for at, of in fits.items() if of]
    figures += [
        _sweep_figure(f"sweep-{html_key(at)}", at.label, of)
        for at, of in fits.items()
        if of and all(len(fit.sweep) > 1 for fit in of)
    ]
    return Section("transform", "Transform Matrix", [_TEXT], [_fit_table(titled), _error_table(titled), *figures])


def _fits(evidence: Evidence, family: Family) -> list[TransformDiagnostics]:
    return [at.transform for at in evidence.of(family) if at.transform is not None]


def _fit_table(titled: _Titled) -> Table:
    rows = [
        [
            Cell(title, _FORMS[fit.matrix] + (", with intercept" if fit.intercept else "")),
            numeric(count(fit.fitted.pairs)),
            numeric(count(fit.held_out.pairs if fit.held_out else 0)),
            numeric(count(fit.rows)),
            numeric(f"{count(fit.rank)} of {count(fit.hidden_size)}"),
            numeric(scientific(fit.condition_number)),
            numeric(scientific(fit.relative_ridge), _RIDGE_CHOICES[fit.ridge_choice]),
            Cell(fit.solver),
        ]
        for title, fit in titled
    ]
    columns = [
        "run", "fitted pairs", "held-out pairs", "fitted rows", "rank", "condition number", "ridge", "solver",
    ]  # fmt: skip
    note = "A fitted row is one layer of one pair. The ridge is relative to the mean of the diagonal of AᵀA."
    if any(fit.matrix == "per_layer" for _, fit in titled):
        note += " With a matrix per layer, rank, condition number and ridge are those of the worst layer."
    return Table("transform-fit", "The fit", columns, rows, note)


def _error_table(titled: _Titled) -> Table:
    rows = [
        [Cell(title, kind), *_errors(errors)]
        for title, fit in titled
        for kind, errors in (("fitted pairs", fit.fitted), ("held-out pairs", fit.held_out))
        if errors is not None
    ]
    columns = [f"{error}, {label}" for error in ("MSE", "R²") for label in _PREDICTORS.values()]
    return Table("transform-errors", "Errors", ["run", *columns], rows)


def _errors(errors: PairErrors) -> list[Cell]:
    squared = [numeric(scientific(errors.mse.get(name))) for name in _PREDICTORS]
    return [*squared, *(numeric(number(errors.r2.get(name), 3)) for name in _PREDICTORS)]


def _layer_figure(key: str, label: str, fits: Sequence[TransformDiagnostics]) -> Figure:
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


def _sweep_figure(key: str, label: str, fits: Sequence[TransformDiagnostics]) -> Figure:
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
