"""The blocks of a document before it is written: sections of tables, figures, samples, records and listings.

Everything here is plain text; escaping is the business of the writers (`page`, `markdown`, `exports`), which are the
only readers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "better", "worse"]
Direction = Literal["ltr", "rtl", "auto"]
Tags = Mapping[str, str]
"""By the key of a facet, the value of it that a row or a column belongs to."""

MISSING = "–"
STRONGEST_SHADE = 4


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a main text, and below it a smaller one of one or more lines."""

    text: str
    detail: str = ""
    """Below the text, for example an interval."""
    tone: Tone = ""
    """Whether a difference excludes zero; never said by colour alone, the text carries an arrow."""
    is_number: bool = False
    value: float | None = None
    """The number behind the text, for sorting and for files; None where there is none."""
    bounds: tuple[float, float] | None = None
    """The ends of its interval."""
    shade: int = 0
    """Colours the cell, from -4 (worse) to 4 (better); the text says the same by its sign."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row. In HTML its columns can be sorted."""

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    is_folded: bool = False
    """Folded tables are closed at first in HTML."""
    row_tags: Sequence[Tags] = ()
    """What each row belongs to, so that the document's facets can hide it; none: it always stays."""
    column_tags: Sequence[Tags] = ()
    """The same of each column, the first one included."""


@dataclass(frozen=True)
class Figure:
    """A drawing with the sentence that says what it shows, for those who cannot see it."""

    key: str
    title: str
    alternative: str
    svg: str
    """A standalone SVG document."""
    caption: str = ""
    is_wide: bool = False
    """Wide figures take the whole width, and are scrolled where that is too little."""


@dataclass(frozen=True)
class Answer:
    """One response to a sample item."""

    label: str
    text: str
    score: str
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """One benchmark item with what each run answered. All texts are hostile until escaped."""

    heading: str
    language: str
    direction: Direction
    prompt: str
    answers: Sequence[str]
    responses: Sequence[Answer]


@dataclass(frozen=True)
class Listing:
    """Preformatted text, such as the recipe."""

    title: str
    text: str
    language: str


@dataclass(frozen=True)
class Passage:
    """A text with what a browser must know to set it. The text is hostile until escaped."""

    label: str
    text: str
    language: str
    """BCP 47, as in `ur-Arab`; empty when it is not known."""
    direction: Direction


@dataclass(frozen=True)
class Example:
    """A row of the data: passages that stand side by side, two and two."""

    heading: str
    passages: Sequence[Passage]
    note: str = ""


@dataclass(frozen=True)
class Examples:
    """Rows of the data under one title."""

    title: str
    examples: Sequence[Example]
    is_folded: bool = False
    """Folded examples are closed at first in HTML."""


@dataclass(frozen=True)
class RecordAnswer:
    """One answer to a record. Its text is hostile until escaped."""

    text: str
    score: float | None
    """What answers of one record are compared by, higher is better; None where it was not scored."""
    score_text: str
    """The same for people, as in `correct`."""
    note: str = ""


@dataclass(frozen=True)
class Record:
    """A question, what is expected, and what each of the explorer's answerers said."""

    name: str
    facets: Sequence[str]
    """Its value of each of the explorer's facets."""
    passages: Sequence[Passage]
    expected: Sequence[str]
    language: str
    """BCP 47, of what is expected and of the answers."""
    direction: Direction
    answers: Sequence[RecordAnswer | None]
    """Of each answerer; None where there is none."""


@dataclass(frozen=True)
class Facet:
    """A property by which rows, columns or records can be shown and hidden."""

    key: str
    title: str
    values: Sequence[tuple[str, str]]
    """Each value with what it is called."""


@dataclass(frozen=True)
class Explorer:
    """Records to search and filter, drawn by the page's script; in Markdown only its note."""

    key: str
    title: str
    facets: Sequence[Facet]
    answerers: Sequence[str]
    records: Sequence[Record]
    note: str
    compared: tuple[int, int] | None = None
    """The two answerers that are offered for comparison at first."""


Block = Table | Figure | Sample | Listing | Examples | Explorer


@dataclass(frozen=True)
class Section:
    """A titled part; `paragraphs` come before the blocks."""

    key: str
    title: str
    paragraphs: Sequence[str] = ()
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Document:
    """Everything that one page shows."""

    title: str
    summary: str
    facts: Sequence[tuple[str, str]]
    """A few name and value pairs for the head of the page."""
    sections: Sequence[Section] = field(default_factory=tuple)
    facets: Sequence[Facet] = ()
    """What the reader can filter all tables by."""


def number(value: float | None, decimals: int = 2, sign: str = "-") -> str:
    """A number for a cell: fixed decimals, thousands separated, a real minus sign, a dash for nothing.

    With `sign="+"` positive numbers get theirs too; what rounds to zero has none.
    """
    if value is None or math.isnan(value):
        return MISSING
    rounded = round(value, decimals)
    return f"{rounded:{sign},.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def scientific(value: float | None) -> str:
    """A number that may be very small or large, three significant digits: `3.21e−07`, or `0.0123`."""
    if value is None or math.isnan(value):
        return MISSING
    text = f"{value:.3g}"
    return text.replace("-", "−")


def count(value: int | None) -> str:
    """A whole number with separated thousands, or a dash."""
    return MISSING if value is None else f"{value:,}"


def numeric(
    text: str,
    detail: str = "",
    tone: Tone = "",
    value: float | None = None,
    bounds: tuple[float, float] | None = None,
) -> Cell:
    """A right-aligned cell."""
    return Cell(text, detail, tone, is_number=True, value=value, bounds=bounds)
