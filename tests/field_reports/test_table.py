"""The page of what people bring has each of the 29 cases once, with tests that are there."""

import re
from pathlib import Path

from tests.field_reports.reported import REPORTS, needs_reports

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "field_reports.md"
ROW = re.compile(r"^\| (S\d\d) \|.*\| (`test_.*) \|$", re.MULTILINE)


def cases() -> dict[str, str]:
    return {match[1]: match[2] for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def test_the_page_has_every_case_once() -> None:
    rows = [match[1] for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    assert rows == [f"S{number:02}" for number in range(1, 30)]


@needs_reports
def test_the_cases_are_those_of_the_reports() -> None:
    reported = re.findall(r"^\| (S\d\d) \|", (REPORTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert reported == list(cases())


def test_every_case_names_a_test_that_is_there_and_says_whether_it_is_slow() -> None:
    for case, cell in cases().items():
        for name in re.findall(r"`(test_\w+)`", cell):
            assert case.lower() in name
            form = re.compile(rf"^((?:@.*\n|    .*\n|\)\n|\]\n)*)def {name}_", re.MULTILINE)
            found = [
                (path, match) for path in sorted(HERE.glob("test_*.py")) for match in form.finditer(path.read_text())
            ]
            assert found, f"{case} names {name}, which is nowhere"
            is_slow = any(
                "pytest.mark.slow" in match[1] or re.search(r"^pytestmark = .*slow", path.read_text(), re.MULTILINE)
                for path, match in found
            )
            assert is_slow == ("slow" in cell), case
