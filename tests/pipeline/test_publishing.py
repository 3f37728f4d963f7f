"""Published folders: what the product wrote is whole at every report, what somebody put beside it stays."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cc_tuning.pipeline import published_folder
from cc_tuning.pipeline.published_folder import RECORD, Contents, keep_published
from cc_tuning.pipeline.publishing import _contents
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json
from data_contracts.layout import REPORT_PAGE
from data_contracts.store import ArtifactStore
from tests.artifacts import finish, write


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "report"


def report(store: ArtifactStore, name: str, *files: str) -> Contents:
    """A report of small files, each of which holds `name`."""
    ref = finish(store, "report", dict.fromkeys(files, name), config={"name": name})
    return _contents(store, [ref], store.folder(ref))


def files_of(folder: Path) -> dict[str, str]:
    """The texts below a folder but for its record's."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if name != RECORD}


def test_files_that_somebody_put_there_stay_and_ours_are_replaced(
    store: ArtifactStore, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_published(report(store, "a", REPORT_PAGE, "figures/old.svg"), target)
    write(target / "NOTES.md", "mine")
    write(target / "figures" / "mine.png", "mine")
    (target / "link").symlink_to("NOTES.md")
    os.utime(target / "NOTES.md", (1, 1))
    with caplog.at_level("INFO"):
        keep_published(report(store, "b", REPORT_PAGE), target)
    assert files_of(target) == {REPORT_PAGE: "b", "NOTES.md": "mine", "figures/mine.png": "mine", "link": "mine"}
    assert (target / "NOTES.md").stat().st_mtime == 1
    assert (target / "link").is_symlink()
    assert f"{target} is replaced" in caplog.text
    assert [path.name for path in target.parent.iterdir()] == ["report"]


def test_a_folder_that_is_not_ours_keeps_its_files(store: ArtifactStore, target: Path) -> None:
    write(target / "thesis.tex", "years of work")
    keep_published(report(store, "a", REPORT_PAGE), target)
    assert files_of(target) == {"thesis.tex": "years of work", REPORT_PAGE: "a"}


def test_the_same_results_are_published_once(store: ArtifactStore, target: Path) -> None:
    contents = report(store, "a", REPORT_PAGE)
    keep_published(contents, target)
    written = (target / REPORT_PAGE).stat().st_ino
    keep_published(contents, target)
    assert (target / REPORT_PAGE).stat().st_ino == written


@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink,
        lambda path: path.write_text("b"),
        lambda path: path.write_text(""),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("NOTES.md")),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["deleted", "changed", "emptied", "a folder", "a link", "a FIFO"],
)
def test_a_damaged_file_is_mended_and_the_others_stay(
    store: ArtifactStore, target: Path, harm: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    contents = report(store, "a", REPORT_PAGE, "figures/f.svg")
    keep_published(contents, target)
    write(target / "NOTES.md", "mine")
    harm(target / REPORT_PAGE)
    keep_published(contents, target)
    assert files_of(target) == {REPORT_PAGE: "a", "figures/f.svg": "a", "NOTES.md": "mine"}
    assert f"{target} is mended: 1 files are missing or damaged, {REPORT_PAGE} first" in caplog.text


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_record_loses_nobodys_file(store: ArtifactStore, target: Path, content: str) -> None:
    contents = report(store, "a", REPORT_PAGE)
    keep_published(contents, target)
    write(target / "NOTES.md", "mine")
    (target / RECORD).write_text(content)
    keep_published(contents, target)
    assert files_of(target) == {REPORT_PAGE: "a", "NOTES.md": "mine"}
    assert read_json(target / RECORD)["artifacts"] == contents.artifacts


def test_a_record_of_before_hashes_says_which_files_are_ours(store: ArtifactStore, target: Path) -> None:
    keep_published(report(store, "a", REPORT_PAGE, "old.svg"), target)
    write(target / "NOTES.md", "mine")
    record = read_json(target / RECORD)
    write_json(target / RECORD, record | {"files": sorted(record["files"])})
    keep_published(report(store, "b", REPORT_PAGE), target)
    assert files_of(target) == {REPORT_PAGE: "b", "NOTES.md": "mine"}


@pytest.mark.parametrize("moment", ["before the old is away", "before the new is there", "before files are back"])
def test_a_kill_at_any_moment_loses_nobodys_file(
    store: ArtifactStore, target: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    keep_published(report(store, "a", REPORT_PAGE), target)
    write(target / "NOTES.md", "mine")
    contents = report(store, "b", REPORT_PAGE)
    rename, finish_replacing, renamed = Path.rename, published_folder._finish_replacing, []

    def killed_rename(path: Path, to: Path) -> Path:
        at = {"before the old is away": 0, "before the new is there": 1}.get(moment)
        if len(renamed) == at:
            raise Killed
        renamed.append(path)
        return rename(path, to)

    def killed_finish(folder: Path) -> None:
        if renamed and moment == "before files are back":
            raise Killed
        finish_replacing(folder)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", killed_rename)
        patch.setattr(published_folder, "_finish_replacing", killed_finish)
        keep_published(contents, target)
    keep_published(contents, target)
    assert files_of(target) == {REPORT_PAGE: "b", "NOTES.md": "mine"}
    assert [path.name for path in target.parent.iterdir()] == ["report"]


def test_a_store_that_was_damaged_meanwhile_is_not_published(store: ArtifactStore, target: Path) -> None:
    contents = report(store, "a", REPORT_PAGE)
    (contents.source / REPORT_PAGE).write_text("b")
    with pytest.raises(ArtifactMismatch, match="not the file that its manifest lists"):
        keep_published(contents, target)
    assert not target.exists()


def test_a_folder_on_another_disk_is_kept_there(store: ArtifactStore, target: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target.parent.mkdir()
    target.symlink_to(elsewhere)
    keep_published(report(store, "a", REPORT_PAGE), target)
    assert target.is_symlink()
    assert files_of(elsewhere) == {REPORT_PAGE: "a"}


def test_a_file_in_the_folders_place_is_left_alone_and_said(store: ArtifactStore, target: Path) -> None:
    write(target, "mine")
    with pytest.raises(NotADirectoryError, match="a file stands there"):
        keep_published(report(store, "a", REPORT_PAGE), target)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_published_files_have_the_mode_of_the_umask(store: ArtifactStore, target: Path, umask: int) -> None:
    contents = report(store, "a", REPORT_PAGE, "weights")
    with (contents.source / "weights").open("r+b") as file:
        file.truncate(published_folder._LINK_FROM_BYTES)
    whole = Contents(contents.artifacts, contents.source, {
        name: published_folder.sha256_of_file(contents.source / name) for name in contents.files
    }, contents.change)  # fmt: skip
    before = os.umask(umask)
    try:
        keep_published(whole, target)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o666 & ~umask}
