"""A drawing of values with their intervals: rows of dots in panels that stand side by side.

It is written as SVG by hand, because rows, labels and ticks must line up over all panels and stay text. The colours are
those that `svg.inlined` turns into the page's. What is clear has a filled mark, everything else a hollow one, so that
nothing is told by colour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cc_tuning.document.blocks import number
from cc_tuning.document.svg import GRID, INK, PAPER, SERIES
from cc_tuning.document.visible import visible

_ROW, _HEAD, _FOOT = 21, 40, 26
_GAP = 16
_WIDTH, _NARROWEST, _WIDEST = 1_080, 112, 300
"""Of the whole drawing, which only many panels exceed, and of a panel."""
_MARK = 4
"""Half the size of a mark."""
MARKS = (
    "circle", "square", "triangle", "diamond", "triangle upside down", "pentagon", "triangle to the right",
    "triangle to the left", "hexagon",
)  # fmt: skip
"""What the marks of the series are called; they repeat after that."""
_LETTER = 6.4
"""About the width of a letter at 12 px, for the space that labels take."""
_MOST_LETTERS = 60
_LAST_LETTERS = 36
"""Of a longer label, what stays of its end: rows of one method differ there."""


@dataclass(frozen=True)
class Dot:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float
    is_clear: bool
    """Whether it is called a difference; drawn as a filled mark."""


@dataclass(frozen=True)
class Row:
    """One line through all panels; rows of one series share a colour, of which there are six, and a shape."""

    label: str
    series: int
    dots: Sequence[Dot | None]
    """One for each panel; None where there is nothing to show."""


def draw_dots(panels: Sequence[str], rows: Sequence[Row], decimals: int = 1) -> str:
    """The SVG document of `rows` in panels that each have zero in the middle and a scale of their own."""
    labels = max(min(len(row.label), _MOST_LETTERS) for row in rows) * _LETTER + 14
    panel_width = min(max((_WIDTH - labels) / len(panels) - _GAP, _NARROWEST), _WIDEST)
    width = max(labels + len(panels) * (panel_width + _GAP), _WIDTH)
    height = _HEAD + len(rows) * _ROW + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width:.0f}" height="{height}" fill="{PAPER}"/>',
    ]
    for place, row in enumerate(rows):
        y = _middle(place)
        if place % 2 == 0:
            parts.append(
                f'<rect x="0" y="{y - _ROW / 2:.1f}" width="{width:.0f}" height="{_ROW}" fill="{GRID}" '
                'fill-opacity="0.35"/>'
            )
        parts.append(_text(4, y + 4, _shortened(row.label), "start"))
    for at, panel in enumerate(panels):
        left = labels + at * (panel_width + _GAP)
        parts += _panel(panel, left, panel_width, [(row, row.dots[at]) for row in rows], decimals)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, left: float, width: float, dots: Sequence[tuple[Row, Dot | None]], decimals: int) -> list[str]:
    reach = max((max(abs(dot.low), abs(dot.high), abs(dot.value)) for _, dot in dots if dot), default=0.0) or 1.0
    middle, scale = left + width / 2, (width / 2 - 6) / reach
    bottom = _HEAD + len(dots) * _ROW
    parts = [
        _text(middle, _HEAD - 14, title, "middle", "600"),
        f'<line x1="{middle:.1f}" y1="{_HEAD - 6}" x2="{middle:.1f}" y2="{bottom + 4}" stroke="{INK}" '
        'stroke-width="1" stroke-dasharray="2 2"/>',
    ]
    for tick, anchor in ((-reach, "start"), (0.0, "middle"), (reach, "end")):
        x = middle + tick * scale
        parts.append(_text(x, bottom + 18, number(tick, decimals, "+"), anchor, size=10))
    for place, (row, dot) in enumerate(dots):
        if dot is not None:
            parts += _dot(dot, row.series, middle, scale, _middle(place))
    return parts


def _dot(dot: Dot, series: int, middle: float, scale: float, y: float) -> list[str]:
    colour = SERIES[series % len(SERIES)]
    low, at, high = (middle + value * scale for value in (dot.low, dot.value, dot.high))
    look = f'fill="{colour if dot.is_clear else PAPER}" stroke="{colour}" stroke-width="1.6"'
    shapes = (
        f'<circle cx="{at:.1f}" cy="{y:.1f}" r="{_MARK}" {look}/>',
        f'<rect x="{at - _MARK:.1f}" y="{y - _MARK:.1f}" width="{2 * _MARK}" height="{2 * _MARK}" {look}/>',
        f'<path d="M{at:.1f} {y - _MARK:.1f} l{_MARK} {2 * _MARK} h-{2 * _MARK} z" {look}/>',
        f'<path d="M{at:.1f} {y - _MARK:.1f} l{_MARK} {_MARK} l-{_MARK} {_MARK} l-{_MARK} -{_MARK} z" {look}/>',
        f'<path d="M{at:.1f} {y + _MARK:.1f} l{_MARK} -{2 * _MARK} h-{2 * _MARK} z" {look}/>',
        f'<path d="M{at:.1f} {y - _MARK:.1f} l{_MARK} 3 l-1.5 5 h-5 l-1.5 -5 z" {look}/>',
        f'<path d="M{at - _MARK:.1f} {y - _MARK:.1f} v{2 * _MARK} l{2 * _MARK} -{_MARK} z" {look}/>',
        f'<path d="M{at + _MARK:.1f} {y - _MARK:.1f} v{2 * _MARK} l-{2 * _MARK} -{_MARK} z" {look}/>',
        f'<path d="M{at - _MARK:.1f} {y:.1f} l2 -{_MARK} h4 l2 {_MARK} l-2 {_MARK} h-4 z" {look}/>',
    )
    # The line stops at the mark: a hollow one is hollow on every background.
    ends = [(start, end) for start, end in ((low, at - _MARK), (at + _MARK, high)) if end > start]
    lines = [
        f'<line x1="{start:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="1.8"/>'
        for start, end in ends
    ]
    return [*lines, shapes[series % len(shapes)]]


def _middle(place: int) -> float:
    return _HEAD + (place + 0.5) * _ROW


def _shortened(label: str) -> str:
    if len(label) <= _MOST_LETTERS:
        return label
    return f"{label[: _MOST_LETTERS - _LAST_LETTERS - 1]}…{label[-_LAST_LETTERS:]}"


def _text(x: float, y: float, text: str, anchor: str, weight: str = "400", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}" '
        f'fill="{INK}">{escape(visible(text))}</text>'
    )
