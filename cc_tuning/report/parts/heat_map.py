"""Languages by benchmarks: where a method gains and where it loses, or, where nothing is compared, its scores.

A cell holds the number; its colour says the same once more, in a scale from orange over nothing to blue that the common
kinds of colour blindness can tell apart.
"""

from collections.abc import Callable, Mapping, Sequence

from cc_tuning.document.blocks import MISSING, STRONGEST_SHADE, Cell, Table, number, numeric
from cc_tuning.report.cells import measure_title, variant_title
from cc_tuning.report.names import OFF, TRANSFORM, language_label
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure, Variant

_Values = Mapping[tuple[str, Measure], float]
"""By language and measure."""
Shade = Callable[[float, float], int]
"""From a value and the strongest of its table to the shade of its cell."""


def heat_maps(results: Results, measures: Sequence[Measure]) -> list[Table]:
    """A table for each method in each mode that is held against another; all but the first are folded.

    The first is that of the Transform Matrix where there is one. Where nothing is held against anything, the scores of
    the first method.
    """
    compared = [
        (variant, values)
        for variant in sorted(results.variants, key=lambda at: (at.connection != TRANSFORM, at.connection != OFF))
        if (values := _differences(results, variant, measures))
    ]
    if not compared:
        variant = results.variants[0]
        values = _scores(results, variant, measures)
        title = f"Scores of {variant_title(results, variant)} by language"
        return [_heat_map("heat-scores", title, values, measures, _shade_of_score, is_folded=False)]
    tables = []
    for place, (variant, values) in enumerate(compared):
        baseline = results.family(results.family(variant.family).baseline).label
        title = f"{variant_title(results, variant)} − {baseline} by language"
        tables.append(_heat_map(f"heat-{place}", title, values, measures, _shade_of_difference, is_folded=place > 0))
    return tables


def _differences(results: Results, variant: Variant, measures: Sequence[Measure]) -> _Values:
    """Score minus the baseline's score, of the languages that both have."""
    baseline = results.baseline_of(variant)
    if baseline is None:
        return {}
    ours, theirs = (_scores(results, at, measures) for at in (variant, baseline))
    return {key: value - theirs[key] for key, value in ours.items() if key in theirs}


def _scores(results: Results, variant: Variant, measures: Sequence[Measure]) -> _Values:
    return {
        (language, measure): estimate.value
        for measure in measures
        for language in results.languages(measure)
        if (estimate := results.score(variant, measure, language))
    }


def _heat_map(
    key: str, title: str, values: _Values, measures: Sequence[Measure], shade: Shade, is_folded: bool
) -> Table:
    languages = sorted({language for language, _ in values}, key=lambda language: (language != "en", language))
    columns = [measure for measure in measures if any((language, measure) in values for language in languages)]
    strongest = max((abs(value) for value in values.values()), default=0.0)
    rows = [
        [Cell(language_label(language)), *(_cell(values.get((language, at)), strongest, shade) for at in columns)]
        for language in languages
    ]
    note = (
        f"In points; the strongest colour is {number(strongest, 1)}. Blue and + mean higher, orange and − lower. "
        "These are single languages: most of them are too small to be clear, and the intervals are in the tables by "
        "language."
        if shade is _shade_of_difference
        else "The darker, the higher."
    )
    tags = [{"language": language} for language in languages]
    return Table(key, title, ["language", *map(measure_title, columns)], rows, note, is_folded, tags)


def _cell(value: float | None, strongest: float, shade: Shade) -> Cell:
    if value is None:
        return numeric(MISSING)
    text = number(value, 1, "+" if shade is _shade_of_difference else "-")
    return Cell(text, is_number=True, value=value, shade=shade(value, strongest))


def _shade_of_difference(value: float, strongest: float) -> int:
    return round(STRONGEST_SHADE * value / strongest) if strongest else 0


def _shade_of_score(value: float, strongest: float) -> int:
    return max(0, round(STRONGEST_SHADE * value / strongest)) if strongest else 0
