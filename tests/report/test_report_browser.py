"""A whole report in a browser: it fits its window, its filters and its explorer do what they say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.document.chromium import Tab, needs_chromium, tab
from tests.report.built_report import BuildReport
from tests.report.report_artifacts import World
from tests.report.reported_runs import runs_of

pytestmark = [pytest.mark.slow, needs_chromium]

WORLD = World(
    runs=runs_of("ml-sft", "ml-sft+mt", "cc-tuning", "cc-tuning+mt"),
    benchmarks=("MKQA",),
    languages=("en", "hi", "zh", "ar"),
    items=12,
    likelihoods=True,
)


@pytest.fixture(scope="module")
def page(build_report: BuildReport) -> Path:
    return build_report(WORLD).folder / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def shown(browser: Tab, page: Path) -> Tab:
    browser.show(page, 1280)
    browser.value(
        "new Promise((done) => { const wait = () => document.querySelector('.records article') ? done() "
        ": setTimeout(wait, 20); wait(); })"
    )
    return browser


def choose(tab: Tab, label: str, option: str) -> None:
    """Choose an option of the explorer by the words on it."""
    tab.value(
        f"(() => {{ const select = [...document.querySelectorAll('.explorer label')].find((at) => "
        f"at.firstChild.textContent === '{label}').querySelector('select'); "
        f"select.value = [...select.options].find((at) => at.textContent === '{option}').value; "
        "select.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )


def articles(tab: Tab) -> list[dict[str, str]]:
    """What each shown item says of each run, and its heading."""
    found = tab.value(
        "[...document.querySelectorAll('.records article')].map((article) => Object.fromEntries([['heading', "
        "article.querySelector('h4').textContent], ...[...article.querySelectorAll('.responses > div')].map((at) => "
        "[at.querySelector('dt > span').firstChild.textContent, at.querySelector('.score').textContent])]))"
    )
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_fits_its_window_and_reports_nothing(browser: Tab, page: Path, width: int, scheme: str) -> None:
    browser.said.clear()
    browser.show(page, width, scheme)
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    browser.value("document.querySelectorAll('main details').forEach((at) => { at.open = true; })")
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    background = browser.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(background) < 100) == (scheme == "dark")
    assert not browser.said


def test_comparison_shows_items_that_one_run_has_right_and_the_other_wrong(shown: Tab) -> None:
    choose(shown, "A", "CC-Tuning, Transform Matrix")
    choose(shown, "B", "ML-SFT")
    choose(shown, "Compare", "A is right or better, B is not")
    found = articles(shown)
    assert found
    assert {(at["CC-Tuning, Transform Matrix"], at["ML-SFT"]) for at in found} == {("correct", "wrong")}
    choose(shown, "Compare", "B is right or better, A is not")
    assert {(at["CC-Tuning, Transform Matrix"], at["ML-SFT"]) for at in articles(shown)} == {("wrong", "correct")}


def test_language_and_words_narrow_the_items(shown: Tab) -> None:
    choose(shown, "Language", "hi Hindi")
    assert all(", hi Hindi, " in at["heading"] for at in articles(shown))
    assert "12 of 48 items" in shown.value("document.querySelector('#status-answers').textContent")
    shown.value(
        "(() => { const box = document.querySelector('.explorer input[type=search]'); box.value = 'बंदरगाह 7 '; "
        "box.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    shown.value("new Promise((done) => setTimeout(done, 400))")
    assert [at["heading"] for at in articles(shown)] == ["MKQA, hi Hindi, mkqa-0007"]


def test_texts_have_the_direction_and_language_of_their_script(shown: Tab) -> None:
    choose(shown, "Language", "ar Standard Arabic")
    texts = (
        "[...document.querySelectorAll('.records .passages dd')].map((at) => "
        "[at.lang, at.dir, getComputedStyle(at).direction])"
    )
    assert sorted(set(map(tuple, shown.value(texts)))) == [("ar-Arab", "rtl", "rtl"), ("en", "ltr", "ltr")]


def test_filters_of_runs_and_languages_reach_every_table(shown: Tab) -> None:
    shown.value("document.querySelector('.facet input[value=\"cc-tuning\"]').click()")
    shown.value("document.querySelector('.facet input[value=hi]').click()")
    rows = "[...document.querySelectorAll('#table-headline tbody tr')].filter((at) => !at.hidden)"
    assert set(shown.value(f"{rows}.map((at) => at.dataset.run)")) == {"ml-sft", "ml-sft+mt", "cc-tuning+mt"}
    columns = "[...document.querySelectorAll('#table-mkqa-accuracy th[scope=col]')].filter((at) => !at.hidden).length"
    assert shown.value(columns) == 1 + 3 + 1
    rows = "[...document.querySelectorAll('#table-heat-0 tbody tr')].filter((at) => !at.hidden).length"
    assert shown.value(rows) == 3
