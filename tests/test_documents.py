"""What the documents point to is there: files behind links, and paths of this repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
PATH = re.compile(r"`((?:cc_tuning|data_contracts|tasks|flows|tests|benchmarks|recipes|configs|docs|docker)/[\w./-]*)`")
INSIDE = re.compile(r"`([a-z_]+/[\w/]+\.py)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_of_this_repository_exists(document: Path) -> None:
    """A module may stand without `.py`, and a file of `cc_tuning/` by its path in there."""
    text = document.read_text(encoding="utf-8")
    missing = [path for path in PATH.findall(text) if not any((ROOT / f"{path}{end}").exists() for end in ("", ".py"))]
    inside = [
        path for path in INSIDE.findall(text) if not any((top / path).exists() for top in (ROOT, ROOT / "cc_tuning"))
    ]
    assert not missing + inside
