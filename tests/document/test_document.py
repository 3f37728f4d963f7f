"""A document shows its texts as they are, in both forms, whatever they hold, and draws the same for the same data."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

import cc_tuning.document
from cc_tuning.document.axes import MAX_POINTS, add_legend, draw_lines, draw_svg
from cc_tuning.document.blocks import (
    Answer,
    Cell,
    Document,
    Example,
    Examples,
    Explorer,
    Facet,
    Figure,
    Listing,
    Passage,
    Record,
    RecordAnswer,
    Sample,
    Section,
    Table,
    number,
)
from cc_tuning.document.markdown import escape_markdown, render_markdown
from cc_tuning.document.page import render_page
from cc_tuning.document.svg import SERIES
from cc_tuning.document.visible import visible
from cc_tuning.document.writing import write_document
from tests.document.page_reader import PageReader, assert_nothing_foreign_runs, packed_records

HOSTILE = (
    "<script>alert(1)</script> </pre></main> {{ 7 * 7 }} {% raw %} & <img src=http://evil.example/x onerror=alert(1)>\n"
    "| a | b | `code` ``` ![x](http://evil.example/y.png) [l](javascript:alert(1)) *b* _i_ ~~s~~ # h \\| $x$ @someone\n"
    "\u202edrow\u202c \u2066x\u2069 \u200fمرحبا\u200e \x1b[31m \x00 \ufeff www.evil.example"
)
PACKAGE = Path(cc_tuning.document.__file__).parent


def every_block(text: str) -> Document:
    """A document with every kind of block and `text` everywhere a text may stand."""
    passage = Passage(text, text, "ur-Arab", "rtl")
    svg = draw_svg("drawn", lambda axes: draw_lines(axes, [([1, 2], [3.0, 4.0])], text, 0))
    blocks = [
        Table("made", text, [text, text], [[Cell(text, text), Cell(text)]], text),
        Figure("drawn", text, text, svg, text),
        Sample(text, "sw", "ltr", text, [text, text], [Answer(text, text, text, text)]),
        Listing(text, text, "yaml"),
        Examples(text, [Example(text, [passage, passage], text)], is_folded=True),
        Explorer("made", text, [Facet("kind", text, [("a", text)])], [text], [explored(text)], text),
    ]
    facets = [Facet("kind", text, [("a", text), ("b", text)])]
    return Document(text, text, [(text, text)], [Section("all", text, [text], blocks)], facets)


def explored(text: str) -> Record:
    """A record with `text` everywhere a text may stand."""
    passage, answer = Passage(text, text, "ur-Arab", "rtl"), RecordAnswer(text, 1.0, text, text)
    return Record(text, ["a"], [passage], [text], "ur-Arab", "rtl", [answer])


def test_every_text_of_every_block_reaches_the_reader_as_text() -> None:
    page = PageReader(render_page(every_block(HOSTILE)))
    assert_nothing_foreign_runs(page)
    assert visible(HOSTILE) in page.text
    assert set(packed_records(page)["strings"]) == {visible(HOSTILE)}
    assert not {"\u202e", "\x1b", "\ufeff"} & set(render_page(every_block(HOSTILE)))


def test_markdown_of_every_block_is_text_but_for_its_tables_figures_and_fences() -> None:
    parsed = MarkdownIt("commonmark").enable("table").parse(render_markdown(every_block(HOSTILE)))
    children = [child for token in parsed for child in (token.children or [])]
    kinds = {child.type for child in children} | {token.type for token in parsed}
    assert {child.content for child in children if child.type == "html_inline"} <= {"<br>"}
    assert not kinds & {"html_block", "link_open", "em_open", "strong_open", "code_inline"}
    assert [child.attrGet("src") for child in children if child.type == "image"] == ["figures/drawn.svg"]
    (fence,) = [token for token in parsed if token.type == "fence"]
    assert fence.content.rstrip("\n") == visible(HOSTILE)


def test_escaped_cell_reads_as_it_was_written() -> None:
    table = f"| a |\n| --- |\n| {escape_markdown(HOSTILE)} |\n"
    parsed = MarkdownIt("commonmark").enable("table").parse(table)
    cell = [token for token in parsed if token.type == "inline"][-1]
    assert cell.children is not None
    shown = "".join("\n" if child.type == "html_inline" else child.content for child in cell.children)
    assert shown == visible(HOSTILE)


def test_invisible_controls_are_shown_by_name() -> None:
    assert visible("a\u202eb\u200f\x00\x1b") == "a⟨U+202E⟩b⟨U+200F⟩⟨U+0000⟩⟨U+001B⟩"
    assert visible("क्\u200dष\t\u200c\n۝") == "क्\u200dष\t\u200c\n۝"  # joiners and drawn signs belong to the text


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(-0.04, "-", "0.0"), (-3.25, "+", "−3.2"), (3.26, "+", "+3.3"), (0.0, "+", "0.0"), (float("nan"), "-", "–")],
)
def test_numbers_have_one_form(value: float, sign: str, text: str) -> None:
    assert number(value, decimals=1, sign=sign) == text


def test_lines_of_a_cell_stand_below_each_other_in_both_forms() -> None:
    document = Document("t", "s", [], [Section("a", "A", [], [Table("made", "", ["x"], [[Cell("1", "2\n3")]])])])
    assert PageReader(render_page(document)).tables["made"][1] == ["1\n2\n3"]
    assert "| 1<br>2<br>3 |" in render_markdown(document)


def test_tables_are_named_and_their_headers_say_what_they_head() -> None:
    elements = PageReader(render_page(every_block("x"))).elements
    tags = [tag for tag, _ in elements]
    assert tags.count("table") == tags.count("caption") == 1
    assert [at.get("scope") for tag, at in elements if tag == "th"] == ["col", "col", "row"]
    assert {"header", "nav", "main", "section", "h1", "h2"} <= set(tags)
    (region,) = [at for _, at in elements if at.get("class") == "scroll"]
    assert (region["role"], region["aria-label"], region["tabindex"]) == ("region", "x", "0")


def test_cells_carry_what_they_sort_by_and_rows_what_they_are_filtered_by() -> None:
    rows = [[Cell("a"), Cell("1.2", is_number=True, value=1.23456789, shade=-3)]]
    table = Table("made", "", ["x", "y"], rows, row_tags=[{"run": 'r"1'}], column_tags=[{}, {"language": "sw"}])
    elements = PageReader(render_page(Document("t", "s", [], [Section("a", "A", [], [table])]))).elements
    assert [at for tag, at in elements if tag == "td"] == [{"class": "number shade-3", "data-value": "1.23457"}]
    assert [at.get("data-run") for tag, at in elements if tag == "tr"] == [None, 'r"1']
    assert [at.get("data-language") for tag, at in elements if tag == "th"] == [None, "sw", None]


def test_written_document_has_its_figures_where_the_markdown_looks_for_them(tmp_path: Path) -> None:
    write_document(every_block("x"), tmp_path / "index.html", tmp_path / "report.md")
    (place,) = re.findall(r"!\[x\]\((.*?)\)", (tmp_path / "report.md").read_text(encoding="utf-8"))
    assert (tmp_path / place).read_text(encoding="utf-8").startswith("<?xml")
    assert (tmp_path / "index.html").read_bytes().startswith(b"<!doctype html>")


def test_several_lines_of_one_series_share_its_colour_and_its_name() -> None:
    def draw(axes: Any) -> None:
        draw_lines(axes, [([1, 2, 3], [1.0, 2.0, 0.5 * n]) for n in range(3)], "three", 0)
        draw_lines(axes, [([1, 2, 3], [3.0, 2.0, 1.0])], "one", 1)
        add_legend(axes)

    svg = draw_svg("lines", draw)
    assert svg == draw_svg("lines", draw)
    thin = re.findall(r"stroke: (#\w{6}); stroke-width: 0.8", svg)
    assert thin.count(SERIES[0]) == 4  # three lines, and one in the legend
    assert not set(SERIES[1:]) & set(thin)
    assert svg.count(">three</text>") == svg.count(">one</text>") == 1


def test_long_line_is_drawn_as_means_of_equal_stretches() -> None:
    drawn: list[tuple[Any, Any]] = []
    steps = list(range(MAX_POINTS * 3))

    def draw(axes: Any) -> None:
        draw_lines(axes, [(steps, steps)], "long", 0)
        drawn.append(axes.lines[0].get_data())

    draw_svg("long", draw)
    assert drawn[0][0].tolist() == [3.0 * n + 1 for n in range(MAX_POINTS)]


def test_a_document_is_about_nothing_and_a_page_needs_no_drawing() -> None:
    imported = {
        name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [])
    }
    ours = {name for name in imported if str(name).startswith("cc_tuning")}
    assert all(str(name).startswith("cc_tuning.document") for name in ours)
    # The data card has no figure; the command that writes it must not wait for matplotlib.
    loaded = "import sys, cc_tuning.report.data_card.card, cc_tuning.report.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "torch", "transformers", "prefect"} & set(done.stdout.split())
