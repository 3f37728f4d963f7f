"""The blocks of a document before it becomes HTML or Markdown: sections of tables, figures, samples and listings.

Everything here is plain text; escaping is the business of `page` and `markdown`, which are the only readers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "better", "worse"]
Direction = Literal["ltr", "rtl", "auto"]

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a main text, and below it up to two smaller ones, each of one or more lines."""

    text: str
    detail: str = ""
    """Below the text, for example an interval."""
    change: str = ""
    """Below the detail, for example a difference with its interval."""
    tone: Tone = ""
    """Whether the difference excludes zero; never said by colour alone, the text carries an arrow."""
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row."""

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    is_folded: bool = False
    """Folded tables are closed at first in HTML."""


@dataclass(frozen=True)
class Figure:
    """A drawing with the sentence that says what it shows, for those who cannot see it."""

    key: str
    title: str
    alternative: str
    svg: str
    """A standalone SVG document."""
    caption: str = ""


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


Block = Table | Figure | Sample | Listing | Examples


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


def numeric(text: str, detail: str = "", change: str = "", tone: Tone = "") -> Cell:
    """A right-aligned cell."""
    return Cell(text, detail, change, tone, is_number=True)
