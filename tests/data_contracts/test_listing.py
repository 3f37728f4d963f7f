"""One listing for hashing and reading: what a reader finds by name is hashed, and nothing endless is opened."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.errors import ArtifactMismatch, NotAFile
from data_contracts.files import kind_of_object, read_json, visible_files
from data_contracts.fingerprint import digest_of_files, stamp_of_files
from tests.artifacts import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rows, and a link to a folder of more rows elsewhere."""
    write(tmp_path / "elsewhere" / "more.parquet", "more")
    write(tmp_path / "source" / "rows.parquet", "rows")
    (tmp_path / "source" / "linked").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "source"


def test_a_linked_folder_is_listed_and_hashed_by_what_is_in_it(folder: Path) -> None:
    assert [path.relative_to(folder).as_posix() for path in visible_files(folder)] == [
        "linked/more.parquet", "rows.parquet",
    ]  # fmt: skip
    before = digest_of_files(folder)
    (folder.parent / "elsewhere" / "more.parquet").write_text("mode")
    assert digest_of_files(folder) != before


def test_a_link_and_a_copy_have_one_identity(folder: Path) -> None:
    linked = digest_of_files(folder)
    (folder / "linked").unlink()
    write(folder / "linked" / "more.parquet", "more")
    assert digest_of_files(folder) == linked


def test_a_folder_that_contains_itself_is_refused(folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    with pytest.raises(NotAFile, match="leads back to"):
        visible_files(folder)


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket has 107 characters at most
        bound.bind(path.name)
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "kind"),
    [(os.mkfifo, "FIFO"), (_bind, "socket"), (lambda path: path.symlink_to("/dev/zero"), "device")],
)
def test_what_is_no_file_is_refused_by_name(folder: Path, make: Callable[[Path], object], kind: str) -> None:
    make(folder / "odd")
    for read in (visible_files, digest_of_files, stamp_of_files):
        with pytest.raises(NotAFile, match=f"odd is a {kind}, expected a file or a folder"):
            read(folder)
    with pytest.raises(ArtifactMismatch, match=f"is a {kind}, expected a file"):
        read_json(folder / "odd")


def test_hidden_odd_objects_and_links_to_nothing_are_passed_over(folder: Path) -> None:
    before = digest_of_files(folder)
    os.mkfifo(folder / ".hidden")
    (folder / "dangling").symlink_to("/nowhere/at/all")
    assert digest_of_files(folder) == before
    assert kind_of_object(folder / "dangling") == "nothing"
    assert kind_of_object(folder / "dangling", follow=False) == "symbolic link"


def test_a_name_that_no_file_can_have_is_nothing() -> None:
    assert kind_of_object(Path("a" * 5_000)) == kind_of_object(Path("a\0b")) == "nothing"


def test_a_stamp_changes_with_name_size_and_time_and_with_nothing_else(folder: Path) -> None:
    rows = folder / "rows.parquet"
    before = stamp_of_files(folder)
    state = rows.stat()
    rows.read_text()
    rows.chmod(0o600)
    assert stamp_of_files(folder) == before
    rows.write_text("rows")
    os.utime(rows, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert stamp_of_files(folder) != before
    os.utime(rows, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert stamp_of_files(folder) == before
    rows.rename(folder / "other.parquet")
    assert stamp_of_files(folder) != before
