"""The page trusts no text, asks for nothing, and is the same for the same inputs."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from cc_tuning.document.visible import visible
from tests.document.chromium import needs_chromium, opened
from tests.document.page_reader import PageReader, assert_nothing_foreign_runs, packed_records
from tests.document.test_document import HOSTILE
from tests.report.built_report import BuildReport, Built
from tests.report.report_artifacts import World


@pytest.fixture(scope="module")
def hostile(build_report: BuildReport) -> Built:
    runs = [run.model_copy(update={"label": f"<b>{run.label}</b> \u202e{{{{ 7 }}}}"}) for run in World().runs]
    return build_report(World(runs=runs, benchmarks=("MKQA",), items=2, steps=2, responses={"MKQA": HOSTILE}))


def test_hostile_text_reaches_the_reader_as_text(hostile: Built) -> None:
    page = PageReader(hostile.text("index.html"))
    assert visible(HOSTILE) in page.text
    assert visible(HOSTILE) in packed_records(page)["strings"]
    assert "<b>CC-Tuning</b> ⟨U+202E⟩{{ 7 }}" in page.text
    assert "\u202e" not in hostile.text("index.html")
    assert_nothing_foreign_runs(page)


def test_page_loads_nothing(hostile: Built, built: Built) -> None:
    for report in (hostile, built):
        page = PageReader(report.text("index.html"))
        for tag, attributes in page.elements:
            for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "background"):
                value = attributes.get(name)
                assert value is None or value.startswith(("#", "data:")), (tag, name, value)
        style = re.findall(r"<style>(.*?)</style>", report.text("index.html"), flags=re.DOTALL)
        assert len(style) == 1
        assert "url(" not in style[0]
        assert "@import" not in style[0]
    written = re.sub(r'http-equiv="|<script type="application/octet-stream".*?</script>', "", built.text("index.html"))
    assert "http" not in written


def test_same_inputs_give_the_same_bytes(build_report: BuildReport, built: Built) -> None:
    again = build_report(built.world)
    names = sorted(path.relative_to(built.folder) for path in built.folder.rglob("*") if path.is_file())
    assert Path("figures/loss.svg") in names
    for name in names:
        if name.name != "manifest.json":
            assert (built.folder / name).read_bytes() == (again.folder / name).read_bytes(), name


def test_every_id_is_unique_and_every_link_has_a_target(built: Built) -> None:
    elements = PageReader(built.text("index.html")).elements
    ids = [str(attributes["id"]) for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(attributes["href"])[1:] for _, attributes in elements if str(attributes.get("href")).startswith("#")}
    assert links
    assert links <= set(ids)


def test_texts_have_their_language_and_direction(built: Built) -> None:
    prompts = [attributes for _, attributes in PageReader(built.text("index.html")).elements if "lang" in attributes]
    directions = {str(at["lang"]): at["dir"] for at in prompts if at.get("class") == "text prompt"}
    assert directions == {"ar": "rtl", "es": "ltr"}
    texts = [at for tag, at in PageReader(built.text("index.html")).elements if tag == "dd" and at.get("class")]
    answers = [at for at in texts if "lang" not in at]
    assert {at["dir"] for at in answers} == {"auto"}


def test_figures_say_what_they_show(built: Built) -> None:
    elements = PageReader(built.text("index.html")).elements
    images = [attributes for _, attributes in elements if attributes.get("role") == "img"]
    assert len(images) == len(list(built.folder.glob("figures/*.svg"))) >= 7
    assert all(len(str(attributes["aria-label"])) > 40 for attributes in images)


def test_markdown_shows_hostile_text_as_text(hostile: Built) -> None:
    parsed = MarkdownIt("commonmark").enable("table").parse(hostile.text("report.md"))
    children = [child for token in parsed for child in (token.children or [])]
    kinds = {child.type for child in children} | {token.type for token in parsed}
    allowed = {"html_inline"}  # <br>, and nothing else
    assert {child.content for child in children if child.type == "html_inline"} == {"<br>"}
    assert not (kinds - allowed) & {"html_block", "link_open", "em_open", "strong_open", "code_inline"}
    assert {child.attrGet("src") for child in children if child.type == "image"} == {
        f"figures/{path.name}" for path in hostile.folder.glob("figures/*.svg")
    }


@pytest.mark.slow
@needs_chromium
def test_browser_reports_no_error_and_asks_for_nothing(hostile: Built, tmp_path: Path) -> None:
    page = opened(hostile.folder / "index.html", tmp_path)
    assert "CONSOLE" not in page.said
    assert "evil.example" not in page.network
