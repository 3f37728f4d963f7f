"""The Transform Matrix of each run: how it was fitted, and how well it predicts English activations."""

from collections.abc import Sequence

from cc_tuning.document.blocks import Cell, Section, Table, count, number, numeric, scientific
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import html_key
from cc_tuning.report.run_evidence import PairErrors, TransformDiagnostics
from cc_tuning.report.transform_plots import sweep_figure, transform_figure

_PREDICTORS = {"transform": "Transform Matrix", "identity": "identity", "mean": "mean"}
_FORMS = {"shared": "one matrix for all layers", "per_layer": "one matrix per layer"}
_RIDGE_CHOICES = {"fixed": "", "gcv": "by cross-validation"}
_TEXT = (
    "The matrix maps activations of a prompt to those of its English parallel. R² is 1 for a perfect prediction and 0 "
    "for the mean of the same rows; identity uses the activations unchanged, mean is the average English activation of "
    "the fitted pairs. Held-out pairs were not fitted, so theirs are the figures that tell about new prompts."
)

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
    figures = [transform_figure(f"transform-{html_key(at)}", at.label, of) for at, of in fits.items() if of]
    figures += [
        sweep_figure(f"sweep-{html_key(at)}", at.label, of)
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
