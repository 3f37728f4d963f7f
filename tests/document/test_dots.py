"""The drawing of differences: marks stand where their values are, and what is clear looks so without its colour."""

import re
from xml.etree import ElementTree

import pytest

from cc_tuning.document.dots import MARKS, Dot, Row, draw_dots
from cc_tuning.document.svg import PAPER, SERIES, inlined
from cc_tuning.document.visible import visible
from tests.document.test_document import HOSTILE

ROWS = [
    Row("one", 0, [Dot(1.0, -1.0, 2.0, False), Dot(-8.0, -10.0, -6.0, True)]),
    Row("two", 1, [Dot(2.0, 1.0, 4.0, True), None]),
]


def elements(svg: str, tag: str) -> list[dict[str, str]]:
    root = ElementTree.fromstring(svg)
    return [dict(at.attrib) for at in root.iter() if at.tag.endswith(f"}}{tag}")]


def test_distance_from_the_zero_line_is_proportional_to_the_value() -> None:
    svg = draw_dots(["left", "right"], ROWS)
    zeros = [float(line["x1"]) for line in elements(svg, "line") if "stroke-dasharray" in line]
    first, second = (float(at["cx"]) for at in elements(svg, "circle"))
    square = next(at for at in elements(svg, "rect") if at["fill"] == SERIES[1])
    middle = float(square["x"]) + float(square["width"]) / 2
    assert middle - zeros[0] == pytest.approx(2 * (first - zeros[0]), abs=0.3)
    # The widest interval of each panel, to 4 and to -10, reaches its edge.
    ends = [float(line["x2"]) for line in elements(svg, "line") if "stroke-dasharray" not in line]
    edge = max(end for end in ends if end < sum(zeros) / 2) - zeros[0]
    assert first - zeros[0] == pytest.approx(edge / 4, abs=0.3)
    assert zeros[1] - second == pytest.approx(edge * 8 / 10, abs=0.3)


def test_clear_marks_are_filled_and_others_hollow() -> None:
    svg = draw_dots(["left", "right"], ROWS)
    assert [at["fill"] for at in elements(svg, "circle")] == [PAPER, SERIES[0]]


def test_rows_of_one_long_label_that_end_differently_are_told_apart() -> None:
    method = "CC-Tuning, standardised mean over layers, map from all layers"
    ends = (", Transform Matrix − ML-SFT", ", another English prompt − ML-SFT", ", its own activation − ML-SFT")
    drawn = draw_dots(["a"], [Row(method + end, at, [None]) for at, end in enumerate(ends)])
    labels = [str(at.text) for at in ElementTree.fromstring(drawn).iter() if str(at.text).startswith("CC-Tuning")]
    assert len(labels) == len(ends)
    assert all(label.endswith(end) and len(label) <= 60 for label, end in zip(labels, ends, strict=True))


def test_every_series_has_a_mark_of_its_own() -> None:
    drawn = [draw_dots(["a"], [Row("x", at, [Dot(0.0, 0.0, 0.0, True)])]) for at in range(len(MARKS))]
    shapes = [re.sub("#[0-9a-f]{6}", "", svg) for svg in drawn]
    assert len(set(shapes)) == len(MARKS)


def test_panel_of_nothing_but_zeros_has_a_scale() -> None:
    svg = draw_dots(["only"], [Row("a", 0, [Dot(0.0, 0.0, 0.0, False)])])
    assert "nan" not in svg and "inf" not in svg


def test_labels_are_text_whatever_they_hold() -> None:
    svg = draw_dots([HOSTILE], [Row(HOSTILE, 0, [Dot(1.0, 0.5, 2.0, True)])])
    texts = [at.text for at in ElementTree.fromstring(svg).iter() if at.tag.endswith("}text")]
    assert visible(HOSTILE) in texts
    assert "\u202e" not in svg and "<script" not in svg


def test_inlined_drawing_has_the_colours_of_the_page() -> None:
    assert not re.search(r"#[0-9a-f]{6}", inlined(draw_dots(["left", "right"], ROWS), "dots"))
