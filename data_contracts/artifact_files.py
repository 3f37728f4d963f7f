"""The files of an artifact: recorded when it is finished, and held against their records ever after."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data_contracts.errors import ArtifactMismatch
from data_contracts.files import kind_of_object, ordinary_mode, sha256_of_file
from data_contracts.manifest import FileRecord
from data_contracts.manifest_file import MANIFEST


def file_records(folder: Path) -> list[FileRecord]:
    """A record of every file below `folder`, sorted by path; each gets the mode that the umask gives a new file.

    Raises:
        ArtifactMismatch: a symbolic link: what it points to could change without the artifact changing; or a FIFO, a
            device or a socket.
    """
    records = []
    mode = ordinary_mode()
    for path in sorted(objects_below(folder)):
        if (kind := kind_of_object(path, follow=False)) != "file":
            raise ArtifactMismatch(f"{path} is a {kind}; an artifact holds its own files only")
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)  # some libraries write for the owner alone, through a temporary file
        with path.open("rb") as file:
            os.fsync(file.fileno())
        name = path.relative_to(folder).as_posix()
        records.append(FileRecord(path=name, size=path.stat().st_size, sha256=sha256_of_file(path)))
    return records


def verify_files(folder: Path, records: list[FileRecord]) -> None:
    """Find and re-hash every file of an artifact, and find what is there besides.

    Raises:
        ArtifactMismatch: names the first file that does not agree. Hidden files that no record names are passed over:
            no stage reads one.
    """
    for record in records:
        _verify_file(folder, record)
    for path in sorted(surplus_objects(folder, records)):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            kind = kind_of_object(path, follow=False)
            raise ArtifactMismatch(f"{path} is a {kind} that its manifest does not list; it was put there afterwards")


def check_inside(folder: Path | str, record: FileRecord) -> None:
    """Refuse a record whose path leads out of the artifact's folder.

    Raises:
        ArtifactMismatch: the path is absolute or goes upwards.
    """
    parts = PurePosixPath(record.path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ArtifactMismatch(f"{folder}/{MANIFEST} lists {record.path[:200]!r}, which lies outside the artifact")


def surplus_objects(folder: Path, records: list[FileRecord]) -> Iterator[Path]:
    """Whatever is below `folder` and is neither a folder, the manifest, nor one of the recorded names."""
    known = {MANIFEST, *(record.path for record in records)}
    return (path for path in objects_below(folder) if path.relative_to(folder).as_posix() not in known)


def objects_below(folder: Path) -> Iterator[Path]:
    """Every name below `folder` that is no folder itself, hidden ones too; links are not followed.

    Raises:
        PermissionError: a folder may not be read by this user.
    """
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from objects_below(Path(entry.path))
        else:
            yield Path(entry.path)


def remove_object(path: Path) -> None:
    """Remove whatever `path` stands for, a folder with what is in it, a link without what it points to."""
    if kind_of_object(path, follow=False) == "folder":
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _verify_file(folder: Path, record: FileRecord) -> None:
    check_inside(folder, record)
    path = folder / record.path
    if (kind := kind_of_object(path, follow=False)) != "file":
        shown = path if len(record.path) <= 255 else f"{folder}/{record.path[:40]}… ({len(record.path)} characters)"
        raise ArtifactMismatch(f"{shown} is " + ("missing" if kind == "nothing" else f"a {kind}, expected a file"))
    size = path.stat().st_size
    if size != record.size:
        raise ArtifactMismatch(f"{path} has {size} bytes, its manifest says {record.size}")
    found = sha256_of_file(path)
    if found != record.sha256:
        raise ArtifactMismatch(f"{path} is damaged: sha256 {found[:12]}…, its manifest says {record.sha256[:12]}…")
