"""What the page does in a browser: columns sort by click and by key, filters hide, and everything fits the window."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cc_tuning.document.blocks import Cell, Document, Facet, Section, Table, numeric
from cc_tuning.document.page import render_page
from tests.document.chromium import Tab, needs_chromium, tab
from tests.document.test_document import HOSTILE, every_block

pytestmark = [pytest.mark.slow, needs_chromium]

ROWS = [("b", 2.0), ("a10", -3.5), ("a9", None), ("c", 10.25)]
TABLE = Table(
    "made",
    "Made",
    ["name", "score", "other"],
    [[Cell(name), numeric("–" if value is None else f"{value}", value=value), numeric("1")] for name, value in ROWS],
    row_tags=[{"kind": name[0]} for name, _ in ROWS],
    column_tags=[{}, {}, {"language": "x"}],
)
FACETS = [
    Facet("kind", "Kinds", [(name, name) for name in "abc"]),
    Facet("language", "Languages", [("x", "X"), ("y", "Y")]),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def shown(browser: Tab, tmp_path: Path) -> Tab:
    page = tmp_path / "index.html"
    document = Document("t", "s", [], [Section("a", "A", [], [TABLE])], FACETS)
    page.write_text(render_page(document), encoding="utf-8")
    browser.show(page, 1280)
    return browser


def names(tab: Tab) -> list[str]:
    rows = "[...document.querySelectorAll('#table-made tbody tr')].filter((row) => !row.hidden)"
    found = tab.value(f"{rows}.map((row) => row.cells[0].textContent)")
    assert isinstance(found, list)
    return found


def test_click_sorts_down_then_up_then_back_and_says_so(shown: Tab) -> None:
    header = "document.querySelectorAll('#table-made th[scope=col]')[1]"
    for order, expected in (
        ("descending", ["c", "b", "a10", "a9"]),
        ("ascending", ["a10", "b", "c", "a9"]),  # what has no number stays last
        (None, [name for name, _ in ROWS]),
    ):
        shown.value(f"{header}.querySelector('button').click()")
        assert shown.value(f"{header}.getAttribute('aria-sort')") == order
        assert names(shown) == expected


@pytest.mark.parametrize(("key", "code"), [("Enter", 13), (" ", 32)])
def test_key_sorts_texts_with_their_numbers_in_order(shown: Tab, key: str, code: int) -> None:
    shown.value("document.querySelector('#table-made th button').focus()")
    shown.press(key, code)
    assert names(shown) == ["a9", "a10", "b", "c"]


def test_filters_hide_rows_and_columns_and_say_how_many_are_left(shown: Tab) -> None:
    shown.value("document.querySelector('.facet input[value=a]').click()")
    assert names(shown) == ["b", "c"]
    assert shown.value("document.querySelector('.filters .status').textContent") == "2 of 4 rows shown"
    shown.value("document.querySelector('.facet input[value=x]').click()")
    visible = "[...document.querySelectorAll('#table-made th[scope=col]')].map((at) => !at.hidden)"
    assert shown.value(visible) == [True, True, False]
    shown.value("document.querySelector('.reset').click()")
    assert names(shown) == [name for name, _ in ROWS]
    assert shown.value(visible) == [True, True, True]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_of_hostile_blocks_fits_its_window_and_reports_nothing(
    browser: Tab, tmp_path: Path, width: int, scheme: str
) -> None:
    page = tmp_path / "index.html"
    page.write_text(render_page(every_block(HOSTILE)), encoding="utf-8")
    browser.said.clear()
    browser.show(page, width, scheme)
    browser.value("new Promise((done) => setTimeout(done, 200))")
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    assert browser.value("document.querySelectorAll('.records article').length") == 1
    assert browser.value("document.querySelectorAll('script').length") == 2
    assert not browser.said


def test_lines_of_a_cell_stand_below_each_other(browser: Tab, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    table = Table("made", "Made", ["run", "changes"], [[Cell("a"), Cell("selector: mean\nscale: 1.0")]])
    page.write_text(render_page(Document("t", "s", [], [Section("a", "A", [], [table])])), encoding="utf-8")
    browser.show(page, 1280)
    assert browser.value("document.querySelector('#table-made td').innerText") == "selector: mean\nscale: 1.0"
