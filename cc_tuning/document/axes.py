"""Figures as SVG whose bytes depend on the data only, drawn by matplotlib.

Series differ by dash and marker as well as by colour (`series_style`); lines that belong to one series are thin and
share its look.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from cc_tuning.document.blocks import scientific
from cc_tuning.document.svg import GRID, INK, PAPER, SERIES
from cc_tuning.document.visible import visible

MAX_POINTS = 200
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", ">", "<", "h")

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
    """Colour, dash and marker of the series at `index`; the first two repeat after six, markers after nine."""
    at = index % len(SERIES)
    marker = MARKERS[index % len(MARKERS)]
    return {"color": SERIES[at], "linestyle": DASHES[at], "marker": marker, "markersize": 3.5}


def draw_lines(
    axes: Axes, lines: Sequence[tuple[Sequence[float], Sequence[float]]], label: str, index: int, marks: int = 8
) -> None:
    """One series: a line `(x, y)`, or several thin ones of one colour.

    A long line is averaged in `MAX_POINTS` equal stretches, so that a file of many steps stays a small drawing; about
    `marks` of its points carry the marker.
    """
    style = series_style(index)
    if len(lines) > 1:
        style |= {"linewidth": 0.8, "marker": ""}
    for number, (x, y) in enumerate(lines):
        at, of = _shortened(x), _shortened(y)
        axes.plot(at, of, label=None if number else visible(label), markevery=max(1, len(at) // marks), **style)


def label_powers(axis: Axis) -> None:
    """Plain labels of a logarithmic axis; matplotlib's own are TeX, which is not set in an SVG with plain text."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, position: scientific(value)))
    axis.set_minor_formatter(NullFormatter())


def add_legend(axes: Axes) -> None:
    """The names of the series above the drawing, where they cover nothing."""
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=min(len(handles), 2), fontsize=8, handlelength=2.8,
        borderaxespad=0.2, columnspacing=1.6,
    )  # fmt: skip


def _shortened(values: Sequence[float]) -> np.ndarray:
    whole = np.asarray(values, dtype=float)
    return whole if len(whole) <= MAX_POINTS else np.asarray([p.mean() for p in np.array_split(whole, MAX_POINTS)])
