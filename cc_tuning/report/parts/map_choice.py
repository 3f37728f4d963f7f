"""The maps that one was chosen among, in the report: what each makes of held-out responses beside what it predicts."""

from collections.abc import Iterator, Sequence

from cc_tuning.document.blocks import Cell, Table, count, number, numeric, scientific
from cc_tuning.report.map_quality import MapChoice
from cc_tuning.report.run_evidence import TransformDiagnostics

_BY = {"likelihood": "the likelihood of held-out responses", "r2": "R² within language and layer"}
_NOTE = (
    "All maps are fitted on the same pairs. A gain is what the pairs' own responses gain in likelihood over the "
    "connection off, in nats a token, with its standard error; the last row of a run has the real English prompt in "
    "the place of a map. Behind is the difference to the likeliest map: one within a standard error of it is taken for "
    "as good, and of these the one with the fewest numbers is kept. The pairs are rows that the model may have been "
    "trained on, so that gains are to be compared with each other and not with those on benchmark items."
)


def choice_table(titled: Sequence[tuple[str, TransformDiagnostics]]) -> Iterator[Table]:
    """A row for each map of each run that chose one; nothing where no run did."""
    rows = [row for title, fit in titled if fit.choice for row in _rows(title, fit.choice)]
    if rows:
        columns = ["run", "map", "numbers", "R², held-out pairs", "gain, nats a token", "behind", "kept"]
        yield Table("transform-choice", "The choice of the map", columns, rows, _NOTE)


def choice_sentence(label: str, choices: Sequence[MapChoice]) -> str:
    """Which map was kept, and by what; `choices` are those of a family's seeds."""
    kept = dict.fromkeys(at.name for choice in choices for at in choice.maps if at.is_chosen)
    among = {len(choice.maps) for choice in choices}
    return (
        f"{label}: of {count(max(among))} maps {', '.join(kept)} was kept, by {_BY[choices[0].by]} on "
        f"{count(choices[0].pairs)} pairs{_unscored(choices)}."
    )


def _unscored(choices: Sequence[MapChoice]) -> str:
    left_out = sum(choice.unscored for choice in choices)
    return f"; {count(left_out)} more had no response to score" if left_out else ""


def _rows(title: str, choice: MapChoice) -> Iterator[list[Cell]]:
    for at in choice.maps:
        yield [
            Cell(title),
            Cell(at.name),
            numeric(scientific(at.parameters)),
            numeric(number(at.r2, 3)),
            _with_error(at.gain, at.gain_error),
            _with_error(at.behind, at.behind_error, sign="-"),
            Cell("yes" if at.is_chosen else ""),
        ]
    none = numeric(number(None))
    yield [Cell(title), Cell("English prompt"), none, none, _with_error(*choice.english_gain), none, Cell("")]


def _with_error(value: float, error: float, sign: str = "+") -> Cell:
    return numeric(f"{number(value, 3, sign)} ± {number(error, 3)}", value=value)
