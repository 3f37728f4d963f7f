"""Figures as SVG whose bytes depend on the data only, and which follow the page's colours when inlined.

matplotlib draws. The colours it is given are also the keys of `_PALETTE`: a figure can be written out for a white page
as it is or, inlined, take the light or dark colours of the page. Series differ by dash and marker as well as by colour.
"""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

INK = "#1f2a36"
GRID = "#d8dde3"
PAPER = "#fefefe"
# Okabe and Ito's colours, safe for the common kinds of colour blindness, darkened where a thin line on white needs it.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#3f9fd8")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")

_PALETTE = {INK: "var(--ink)", GRID: "var(--line)", PAPER: "none"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES, start=1)
}
_SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.0, "axes.titlesize": 9.5,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "text.color": INK,
    "axes.facecolor": PAPER, "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "axes.linewidth": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": GRID, "grid.linewidth": 0.6, "legend.frameon": False, "lines.linewidth": 1.6,
    "axes.unicode_minus": True, "path.simplify": True, "font.sans-serif": ["DejaVu Sans"],
}  # fmt: skip
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def draw_svg(key: str, draw: Callable[[Axes], None], width: float = 4.9, height: float = 2.9) -> str:
    """The SVG document of one pair of axes that `draw` fills; `width` and `height` in inches.

    `key` salts the ids inside the document, so that equal data give equal bytes.
    """
    with matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": key}):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(canvas)
        draw(canvas.add_subplot())
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata=_NO_METADATA)
    return buffer.getvalue()


def series_style(index: int) -> dict[str, Any]:
    """Colour, dash and marker of the series at `index`; they repeat together after six."""
    at = index % len(SERIES)
    return {"color": SERIES[at], "linestyle": DASHES[at], "marker": MARKERS[at], "markersize": 3.5}


def inlined(svg: str, key: str) -> str:
    """The `<svg>` element of a document for use inside a page: own ids, the page's colours, scalable, no namespaces.

    A browser's HTML parser supplies the namespaces; leaving them out leaves no address in the page at all.
    """
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", element, flags=re.DOTALL)
    opening = r'<svg \1 aria-hidden="true" focusable="false">'
    element = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', opening, element, count=1)
    element = re.sub(r'\bid="', f'id="{key}-', element)
    element = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{key}-", element).replace("xlink:href", "href")
    for colour, variable in _PALETTE.items():
        element = element.replace(colour, variable)
    return element
