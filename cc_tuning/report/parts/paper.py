"""Our figures beside those that the paper prints, in every cell of its tables where model, method and benchmark agree.

Averages and the differences between methods are those of Table 1, single languages those of Tables 5 and 6. Equal
figures are not to be expected (rows, translations and scorers of the paper are not published); what can be compared is
the direction and the size of a difference.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cc_tuning.document.blocks import MISSING, Cell, Section, Table, number, numeric
from cc_tuning.report.cells import difference_cell, measure_title, score_cell
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import AVERAGE, OFF, TRANSFORM, language_label
from cc_tuning.report.published import PAPER, Published, published, published_model
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Comparison, Estimate, Measure, Variant, sign

_MARKS = "*†‡§¶‖"


@dataclass(frozen=True)
class _Both:
    """A score of ours and the paper's."""

    ours: Estimate
    paper: Published

    @property
    def is_inside(self) -> bool:
        """Whether the paper's figure lies in our interval."""
        return self.ours.low <= self.paper.value <= self.ours.high


_Cells = Mapping[tuple[Variant, Measure, str], _Both]


def paper_part(evidence: Evidence) -> Section | None:
    """Averages, differences and languages beside the paper's; None when no model, method and benchmark is in both."""
    model, results = published_model(evidence.config.base_model), evidence.results
    cells = _shared_cells(results, model) if model else {}
    if model is None or not cells:
        return None
    text = (
        f"Scores beside those printed by {PAPER} for {model}: averages of its Table 1, languages of Tables 5 and 6. "
        "The paper's training rows, translations and scorers are not published, so equal figures are not to be "
        "expected. ROUGE-L is compared with the ASCII figure."
    )
    measures = [at for at in results.measures if any(measure == at for _, measure, _ in cells)]
    tables = [_average_table(results, cells, measures), _difference_table(results, model, measures)]
    tables += [_language_table(results, cells, at) for at in measures]
    paragraphs = [text, *_agreement(cells), *_directions(results, model, measures)]
    return Section("paper", "Beside the paper", paragraphs, [table for table in tables if table is not None])


def _shared_cells(results: Results, model: str) -> _Cells:
    cells = {}
    for variant in _compared_variants(results):
        for measure in results.measures:
            for language in (AVERAGE, *results.languages(measure)):
                ours = results.score(variant, measure, language)
                paper = published(model, variant.family, measure.benchmark, measure.metric, language)
                if ours is not None and paper is not None:
                    cells[variant, measure, language] = _Both(ours, paper)
    return cells


def _compared_variants(results: Results) -> Iterator[Variant]:
    """The paper prints CC-Tuning with the Transform Matrix, and the baselines without anything."""
    for variant in results.variants:
        if variant.connection == (TRANSFORM if results.is_connected(variant.family) else OFF):
            yield variant


def _average_table(results: Results, cells: _Cells, measures: Sequence[Measure]) -> Table | None:
    """Two rows for each method, ours and the paper's; a column for each benchmark."""
    notes = _Notes()
    rows: list[list[Cell]] = []
    for variant in dict.fromkeys(variant for variant, _, language in cells if language == AVERAGE):
        both = [cells.get((variant, measure, AVERAGE)) for measure in measures]
        rows += _two_rows(results.family(variant.family).label, both, notes)
    columns = ["method", *map(measure_title, measures)]
    return Table("paper", "Averages over languages", columns, rows, notes.text) if rows else None


def _language_table(results: Results, cells: _Cells, measure: Measure) -> Table | None:
    """The same for one benchmark, with a column for each language that the paper has too."""
    languages = [at for at in results.languages(measure) if any(key[1:] == (measure, at) for key in cells)]
    notes = _Notes()
    rows: list[list[Cell]] = []
    for variant in dict.fromkeys(variant for variant, at, language in cells if at == measure and language in languages):
        both = [cells.get((variant, measure, language)) for language in (*languages, AVERAGE)]
        rows += _two_rows(results.family(variant.family).label, both, notes)
    if not rows:
        return None
    columns = ["method", *map(language_label, languages), "average"]
    key = f"paper-{measure.benchmark}-{measure.metric}".lower()
    return Table(key, f"{measure_title(measure)} by language", columns, rows, notes.text, is_folded=True)


def _two_rows(label: str, both: Sequence[_Both | None], notes: "_Notes") -> Iterator[list[Cell]]:
    yield [Cell(label, "ours"), *(_our_cell(at) for at in both)]
    yield [Cell(label, "paper"), *(_paper_cell(at, notes) for at in both)]


def _paper_cell(both: _Both | None, notes: "_Notes") -> Cell:
    return numeric(notes.marked(both.paper), value=both.paper.value) if both else numeric(MISSING)


def _our_cell(both: _Both | None) -> Cell:
    return score_cell(both.ours if both else None)


def _difference_table(results: Results, model: str, measures: Sequence[Measure]) -> Table | None:
    """What a method changes against its baseline, ours with its interval and the paper's."""
    rows = []
    for variant in _compared_variants(results):
        pairs = [_differences(results, model, variant, measure) for measure in measures]
        if any(pairs):
            family = results.family(variant.family)
            title = f"{family.label} − {results.family(family.baseline).label}"
            rows.append([Cell(title, "ours"), *(difference_cell(at[0] if at else None) for at in pairs)])
            printed = [numeric(number(at[1], 2, "+") if at else MISSING) for at in pairs]
            rows.append([Cell(title, "paper"), *printed])
    note = "The paper's are differences of its printed averages; it prints no intervals."
    columns = ["difference", *map(measure_title, measures)]
    return Table("paper-differences", "Differences between methods", columns, rows, note) if rows else None


def _differences(results: Results, model: str, variant: Variant, measure: Measure) -> tuple[Comparison, float] | None:
    """Our difference to the baseline and the paper's; None when one of the two is not there."""
    ours = results.baseline_comparison(variant, measure)
    names = variant.family, results.family(variant.family).baseline
    method, baseline = (published(model, name, measure.benchmark, measure.metric) for name in names)
    if ours is None or method is None or baseline is None:
        return None
    return ours, method.value - baseline.value


def _agreement(cells: _Cells) -> Iterator[str]:
    """How far ours are from the paper's, over averages and over single languages."""
    for are_averages, kind in ((True, "averages"), (False, "scores of one language")):
        both = [at for (_, _, language), at in cells.items() if (language == AVERAGE) == are_averages]
        if not both:
            continue
        gaps = [at.ours.value - at.paper.value for at in both]
        inside = sum(at.is_inside for at in both)
        noted = sum(bool(at.paper.note) for at in both)
        doubt = f" Of the paper's, {noted} {'carries' if noted == 1 else 'carry'} a note." if noted else ""
        yield (
            f"Of {len(both)} {kind} in both, {inside} of the paper's lie inside our interval; ours are "
            f"{_side(fmean(gaps))} on average and {number(fmean(map(abs, gaps)), 1)} points away in size.{doubt}"
        )


def _side(points: float) -> str:
    if not round(points, 1):
        return "neither above nor below"
    return f"{number(abs(points), 1)} points {'above' if points > 0 else 'below'}"


def _directions(results: Results, model: str, measures: Sequence[Measure]) -> Iterator[str]:
    """In how many benchmarks a method's difference has the paper's sign, and in how many ours is clear of zero."""
    for variant in _compared_variants(results):
        pairs = [at for measure in measures if (at := _differences(results, model, variant, measure))]
        if not pairs:
            continue
        same = [ours for ours, paper in pairs if sign(ours.value) == sign(paper)]
        clear = sum(sign(ours.low) == sign(ours.high) != 0 for ours in same)
        family = results.family(variant.family)
        yield (
            f"{family.label} against {results.family(family.baseline).label}: our difference has the paper's sign on "
            f"{len(same)} of {len(pairs)} benchmarks, on {clear} of them with an interval that excludes zero."
        )


class _Notes:
    """Footnotes of a table: one mark for each different note."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def marked(self, paper: Published) -> str:
        """The figure with the mark of its note."""
        if not paper.note:
            return number(paper.value)
        at = len(self._marks)
        mark = self._marks.setdefault(paper.note, _MARKS[at] if at < len(_MARKS) else f"({at + 1})")
        return f"{number(paper.value)}{mark}"

    @property
    def text(self) -> str:
        return " ".join(f"{mark} {note}." for note, mark in self._marks.items())
