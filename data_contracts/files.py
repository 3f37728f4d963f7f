"""Files that are either whole or absent (temporary name, fsync, rename), and the one listing of a folder.

What is hashed and what is read come from one listing, `visible_files`. A name that leads to no file or folder (a FIFO,
a device, a socket) is refused before anything opens it, since reading one may never end.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_contracts.errors import ArtifactMismatch, NotAFile

_KINDS = {
    stat.S_IFDIR: "folder", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device", stat.S_IFBLK: "device", stat.S_IFREG: "file",
}  # fmt: skip


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kind_of_object(path: Path, *, follow: bool = True) -> str:
    """What a name stands for: `file`, `folder`, `symbolic link`, `FIFO`, ..., or `nothing`; links are followed or not.

    Raises:
        PermissionError: a folder above it may not be entered by this user.
    """
    try:
        mode = path.stat().st_mode if follow else path.lstat().st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):  # also a name that no file can have
        return "nothing"
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def visible_files(folder: Path) -> list[Path]:
    """Every file below `folder`, sorted; hidden ones, and those of hidden folders, are passed over.

    They are what other programs keep beside data (`.git`, `.cache`, `._name`), and change when the data does not.
    A link to a folder is followed, as whatever reads the folder by name follows it.

    Raises:
        NotAFile: a visible name is a FIFO, a device or a socket, or a link leads to a folder that contains it.
    """
    return sorted(_files_below(folder, (os.path.realpath(folder),)))


def _files_below(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        kind = kind_of_object(path)
        if kind == "folder":
            real = os.path.realpath(path)
            if real in above:
                raise NotAFile(f"{path} leads back to {real}, which contains it; remove the link")
            yield from _files_below(path, (*above, real))
        elif kind == "file":
            yield path
        elif kind != "nothing":  # a link to nothing has nothing to read
            raise NotAFile(f"{path} is a {kind}, expected a file or a folder; remove it")


def ordinary_mode() -> int:
    """The mode that a new file has by this process's umask; what goes through a temporary file has a narrower one."""
    status = Path("/proc/self/status")
    if status.is_file():  # asking by os.umask would change it for other threads for a moment
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return 0o666 & ~int(line.split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def sync_directory(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, not only a killed process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block ends without an error.

    Readers see the old file or the new one, never a part. On an error the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.chmod(ordinary_mode())  # safetensors and tempfile write for the owner alone
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def json_text(value: Any) -> str:
    """The text that `write_json` writes for `value`."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON with sorted keys, whole or not at all."""
    with written_atomically(path) as temporary:
        temporary.write_text(json_text(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        ArtifactMismatch: the file is missing, is no file, or is not JSON.
    """
    if (kind := kind_of_object(path)) not in ("file", "nothing"):
        raise ArtifactMismatch(f"{path} is a {kind}, expected a file; remove it and run its stage again")
    try:
        return parsed_json(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        raise ArtifactMismatch(f"{path} is missing; run the stage that writes it again") from error
    except UnicodeDecodeError as error:
        raise ArtifactMismatch(f"{path} is not UTF-8 ({error}); delete it and run its stage again") from error


def parsed_json(text: str, path: Path | str) -> Any:
    """The value of `text`, which was read from `path`.

    Raises:
        ArtifactMismatch: it is not JSON, or nested beyond what can be read.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactMismatch(f"{path} is not JSON ({error}); delete it and run its stage again") from error
