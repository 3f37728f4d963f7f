"""Published folders: what the product wrote is replaced, what somebody put beside it stays."""

from pathlib import Path

import pytest

from cc_tuning.pipeline.publishing import _publish_folder
from data_contracts.layout import REPORT_PAGE
from data_contracts.store import ArtifactRef, ArtifactStore
from tests.artifacts import finish


def report(store: ArtifactStore, name: str, *files: str) -> ArtifactRef:
    """A report of small files, each of which holds `name`."""
    return finish(store, "report", dict.fromkeys(files, name), config={"name": name})


def test_files_that_somebody_put_there_stay_and_ours_are_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, target = ArtifactStore(tmp_path / "store"), tmp_path / "out" / "report"
    first = report(store, "a", REPORT_PAGE, "figures/old.svg")
    _publish_folder(store, [first], store.path(first), target)
    (target / "NOTES.md").write_text("mine")
    (target / "figures" / "mine.png").write_text("mine")
    second = report(store, "b", REPORT_PAGE)
    with caplog.at_level("INFO"):
        _publish_folder(store, [second], store.path(second), target)
    there = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert there == {REPORT_PAGE, "published.json", "NOTES.md", "figures/mine.png"}
    assert (target / "NOTES.md").read_text() == "mine"
    assert (target / REPORT_PAGE).read_text() == "b"
    assert f"{target} is replaced" in caplog.text


def test_a_folder_that_is_not_ours_keeps_its_files(tmp_path: Path) -> None:
    store, target = ArtifactStore(tmp_path / "store"), tmp_path / "out" / "report"
    target.mkdir(parents=True)
    (target / "thesis.tex").write_text("years of work")
    ref = report(store, "a", REPORT_PAGE)
    _publish_folder(store, [ref], store.path(ref), target)
    assert (target / "thesis.tex").read_text() == "years of work"
    assert (target / REPORT_PAGE).read_text() == "a"


def test_the_same_results_are_published_once(tmp_path: Path) -> None:
    store, target = ArtifactStore(tmp_path / "store"), tmp_path / "out" / "report"
    ref = report(store, "a", REPORT_PAGE)
    _publish_folder(store, [ref], store.path(ref), target)
    written = (target / REPORT_PAGE).stat().st_ino
    _publish_folder(store, [ref], store.path(ref), target)
    assert (target / REPORT_PAGE).stat().st_ino == written
