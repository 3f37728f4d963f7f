"""The Transform Matrix of each run: what it knows of a prompt, how it was fitted, and its errors.

The headline is R² within language and layer. About one mean for all rows even a constant reaches nearly 1, since
layers and languages differ far more than prompts do; that figure stands among the errors, and says so.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean

from cc_tuning.document.blocks import Cell, Figure, Section, Table, count, number, numeric, scientific
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.map_quality import Agreement
from cc_tuning.report.names import html_key
from cc_tuning.report.parts.map_choice import choice_sentence, choice_table
from cc_tuning.report.run_evidence import PairErrors, TransformDiagnostics, WithinLanguages
from cc_tuning.report.transform_figures import error_figure, sweep_figure, within_figure

_PREDICTORS = {"transform": "Transform Matrix", "identity": "identity", "mean": "mean"}
_FORMS = {"shared": "one matrix for all layers", "per_layer": "one matrix per layer"}
_FEATURES = {"all_layers": "two factors, from all layers", "pooled": "two factors, from pooled states"}
_INTERCEPTS = {False: "", True: ", with intercept", "per_language": ", with an intercept for each language"}
_RIDGE_CHOICES = {"fixed": "", "gcv": "by GCV", "cv": "by cross-validation"}
_PAPERS = "the paper's map"
_TEXT = (
    "The matrix maps activations of a prompt to those of its English parallel. Held-out pairs were not fitted, nor was "
    "any other pair with their English text, so theirs are the figures that tell about new prompts."
)
_WITHIN_NOTE = (
    "R² is 1 for a perfect prediction, 0 for what a constant for each language and layer reaches, and below 0 for "
    "less; the mean over layers. Identity uses the activations unchanged. The varying share is that part of ‖F_en‖² "
    "which depends on the prompt; the rest is the constant. Cosine is that between prediction and English activation "
    "after the means of language and layer are taken out of both; found is how often the English prompt nearest to a "
    "prediction is its own, for identity in brackets."
)
_ERROR_NOTE = (
    "R² here is about one mean for all rows and layers, which differ far more than prompts do: it is near 1 for any "
    "predictor that tells layers apart, and a constant for each language and layer shows it. Identity uses the "
    "activations unchanged, mean is the average English activation of the fitted pairs. The paper prints errors of "
    "9e−38 to 4e−36 (Table 2), below what float32 activations can hold."
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
    fits = {family: of for family in evidence.families if (of := _fits(evidence, family))}
    figures = [figure for family, of in fits.items() for figure in _figures(family, of)]
    sentences = [sentence for family, of in fits.items() for sentence in _sentences(family, of)]
    tables = [
        _within_table(titled),
        *choice_table(titled),
        *_language_table(titled),
        _fit_table(titled),
        _error_table(titled),
    ]
    return Section("transform", "Transform Matrix", [_TEXT, *sentences], [*tables, *figures])


def _figures(family: Family, fits: Sequence[TransformDiagnostics]) -> Iterator[Figure]:
    key, label = html_key(family), family.label
    if figure := within_figure(f"within-{key}", label, fits):
        yield figure
    yield error_figure(f"transform-{key}", label, fits)
    if all(len(fit.sweep) > 1 for fit in fits):
        yield sweep_figure(f"sweep-{key}", label, fits)


def _sentences(family: Family, fits: Sequence[TransformDiagnostics]) -> Iterator[str]:
    """What the matrix knows of new prompts, and what more pairs are worth."""
    r2 = [fit.within_held_out.r2 for fit in fits if fit.within_held_out and fit.within_held_out.r2 is not None]
    seeds = f", on average over {len(fits)} seeds" if len(fits) > 1 else ""
    if len(r2) == len(fits):
        mean = fmean(r2)
        knows = (
            f"explains {mean:.0%} of what varies between prompts of a language"
            if mean > 0
            else "predicts them worse than a constant for each language and layer would"
        )
        shares = [fit.varying_share for fit in fits if fit.varying_share is not None]
        varying = f"; {number(100 * fmean(shares), 1)} % of ‖F_en‖² varies with the prompt" if shares else ""
        yield (
            f"{family.label}: of the English activations of new prompts the matrix {knows} (R² {number(mean)} within "
            f"language and layer{seeds}){varying}."
        )
    if choices := [fit.choice for fit in fits if fit.choice]:
        yield choice_sentence(family.label, choices)
    yield from _strength_sentence(family, fits, seeds)
    if all(len(fit.sweep) > 1 and fit.sweep[-1].held_out_mse for fit in fits):
        before, last = ([fit.sweep[at] for fit in fits] for at in (-2, -1))
        errors = [fmean(point.held_out_mse or 0.0 for point in points) for points in (before, last)]
        yield (
            f"{family.label}: going from {count(before[0].pairs)} to {count(last[0].pairs)} fitted pairs changes the "
            f"held-out error by {number(100 * (errors[1] / errors[0] - 1), 1, '+')} %{seeds}. The paper's curve, of "
            "fitted pairs, falls until 300 and then stays (Figure 5)."
        )


def _strength_sentence(family: Family, fits: Sequence[TransformDiagnostics], seeds: str) -> Iterator[str]:
    """How large the connection is at its best; nothing where something it is held against is zero."""
    v, varying, f1, residual = (
        fmean(getattr(fit.strength, name) for fit in fits) for name in ("v", "v_varying", "f1", "residual")
    )
    if min(v, f1, residual) > 0:
        yield (
            f"{family.label}: what the English prompt adds is {number(v / f1)} times as large as f_1, the first "
            f"layer's own contribution at t*, and {number(v / residual)} times as large as the residual behind it; the "
            f"part of it that varies with the prompt is {number(varying / f1, 3)} times as large as f_1{seeds}."
        )


def _fits(evidence: Evidence, family: Family) -> list[TransformDiagnostics]:
    return [at.transform for at in evidence.of(family) if at.transform is not None]


def _within_table(titled: _Titled) -> Table:
    rows = []
    for title, fit in titled:
        share = numeric("–" if fit.varying_share is None else f"{number(100 * fit.varying_share, 1)} %")
        within = [*_within_cells(fit.within_held_out), *_within_cells(fit.within)]
        rows.append([Cell(title), *within, *_agreement_cells(fit.agreement), share])
        if paper := fit.paper:
            r2 = (paper.held_out_r2, paper.held_out_identity_r2, paper.r2, paper.identity_r2)
            cells = [numeric(number(value, 3)) for value in r2]
            rows.append([Cell(title, _PAPERS), *cells, *_agreement_cells(paper.agreement), share])
    columns = [
        "run", "R², held-out pairs", "identity, held-out pairs", "R², fitted pairs", "identity, fitted pairs", "cosine",
        "found", "varying share",
    ]  # fmt: skip
    return Table("transform-within", "What the matrix knows of a prompt", columns, rows, _WITHIN_NOTE)


def _agreement_cells(of: Agreement) -> list[Cell]:
    if of.cosine is None or of.found is None or of.identity_cosine is None or of.identity_found is None:
        return [numeric(number(None)), numeric(number(None))]
    return [
        numeric(f"{number(of.cosine)} ({number(of.identity_cosine)})"),
        numeric(f"{of.found:.0%} ({of.identity_found:.0%})", f"of {count(of.candidates)}"),
    ]


def _language_table(titled: _Titled) -> Iterator[Table]:
    """R² of new prompts by their language, as the data names it; nothing where no language has enough pairs."""
    measured = {code for _, fit in titled for code, r2 in fit.language_r2.items() if r2 is not None}
    rows = [
        [Cell(code), *(numeric(number(fit.language_r2.get(code), 3)) for _, fit in titled)] for code in sorted(measured)
    ]
    if rows:
        title = "R² on held-out pairs by language"
        columns = ["language", *(title for title, _ in titled)]
        yield Table("transform-languages", title, columns, rows, "Languages with two fitted pairs and more.", True)


def _within_cells(within: WithinLanguages | None) -> list[Cell]:
    if within is None:
        return [numeric(number(None)), numeric(number(None))]
    return [numeric(number(within.r2, 3), f"{count(within.pairs)} pairs"), numeric(number(within.identity_r2, 3))]


def _fit_table(titled: _Titled) -> Table:
    rows = [
        [
            Cell(title, _FEATURES.get(fit.features, _FORMS[fit.matrix]) + _INTERCEPTS[fit.intercept]),
            numeric(count(fit.fitted.pairs)),
            numeric(count(fit.held_out.pairs if fit.held_out else 0)),
            numeric(count(fit.rows)),
            numeric(f"{count(fit.rank)} of {count(fit.hidden_size)}"),
            numeric(scientific(fit.condition_number)),
            numeric(scientific(fit.relative_ridge), _RIDGE_CHOICES[fit.ridge_choice]),
            Cell(fit.solver),
            numeric(scientific(fit.parameters)),
            numeric(scientific(fit.multiplications)),
        ]
        for title, fit in titled
    ]
    columns = [
        "run", "fitted pairs", "held-out pairs", "fitted rows", "rank", "condition number", "ridge", "solver",
        "numbers", "multiplications a prompt",
    ]  # fmt: skip
    note = "A fitted row is one layer of one pair. The ridge is relative to the mean of the diagonal of AᵀA."
    if any(fit.features != "layer" for _, fit in titled):
        note += " In two factors a row is a pair, the rank is that of the factors, and the ridge is relative to AAᵀ's."
    if any(fit.matrix == "per_layer" for _, fit in titled):
        note += " With a matrix per layer, rank, condition number and ridge are those of the worst layer."
    return Table("transform-fit", "The fit", columns, rows, note)


def _error_table(titled: _Titled) -> Table:
    rows = [
        [Cell(title, kind), *_errors(errors), numeric(number(fit.constant_r2[side], 3))]
        for title, fit in titled
        for kind, side, errors in (
            ("fitted pairs", "fitted", fit.fitted),
            ("held-out pairs", "held_out", fit.held_out),
        )
        if errors is not None
    ]
    columns = [f"{error}, {label}" for error in ("MSE", "R²") for label in _PREDICTORS.values()]
    columns.append("R², constant for language and layer")
    return Table("transform-errors", "Errors over all rows", ["run", *columns], rows, _ERROR_NOTE)


def _errors(errors: PairErrors) -> list[Cell]:
    squared = [numeric(scientific(errors.mse.get(name))) for name in _PREDICTORS]
    return [*squared, *(numeric(number(errors.r2.get(name), 3)) for name in _PREDICTORS)]
