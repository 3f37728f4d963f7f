"""A folder of results that people read, kept whole: files that are ours, by their sha256, and files that are not.

Whenever a command reports success the folder is verified by content. A file of ours that is missing or damaged is
written again; where the results are others, the folder is replaced as a whole. Whatever somebody else put there stays,
with its times and permissions, also when this process is killed in between. Large files are hard-linked to the store
where the file system allows it.

    NAME/published.json    of which artifacts it is, and the sha256 of each file of ours
    .NAME.partial/         the next one, being written
    .NAME.old/             the one before, until what is not ours was taken out of it
"""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.artifact_files import objects_below, remove_object
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import kind_of_object, ordinary_mode, read_json, sha256_of_file, write_json

logger = logging.getLogger(__name__)

RECORD = "published.json"

_LINK_FROM_BYTES = 16 << 20  # smaller files are copied, so that editing one cannot touch the store


@dataclass(frozen=True)
class Contents:
    """What a folder is to hold."""

    artifacts: Mapping[str, str]
    """The sha256 of the manifest of each artifact that it is made of."""
    source: Path
    files: Mapping[str, str]
    """The sha256 of each file below `source` that goes into it."""
    change: Callable[[Path], None]
    """What is done to the copied files before they are published."""


def keep_published(contents: Contents, target: Path) -> None:
    """Make `target` the folder of `contents`, whole or not at all; what is not ours in it stays.

    Raises:
        ArtifactMismatch: a file of the store is not what its manifest says.
        OSError: something else than a folder stands at `target`, or it cannot be written.
    """
    target = Path(os.path.realpath(target))  # somebody may keep large folders on another disk
    _finish_replacing(target)
    if (kind := kind_of_object(target)) not in ("folder", "nothing"):
        raise NotADirectoryError(errno.ENOTDIR, f"a {kind} stands there", str(target))
    record = _recorded(target)
    if record.get("artifacts") == contents.artifacts:
        faults = [name for name, sha256 in record["files"].items() if not _is_whole(target / name, sha256)]
        if not faults:
            return
        logger.warning("%s is mended: %d files are missing or damaged, %s first", target, len(faults), faults[0])
    elif record:
        logger.info("%s is replaced: the recipe of this name has other results now", target)
    _write_partial(contents, _beside(target, "partial"))
    if target.exists():
        target.rename(_beside(target, "old"))
    _beside(target, "partial").rename(target)
    _finish_replacing(target)


def _finish_replacing(target: Path) -> None:
    """Give back what is not ours of the folder before, and remove it; also after this was interrupted."""
    old = _beside(target, "old")
    if not old.is_dir():
        return
    if not target.exists():
        old.rename(target)
        return
    # A folder without a record that can be read may hold anything of anybody's: nothing of it is lost.
    ours = {RECORD, *(_recorded(old) or _recorded(target)).get("files", ())}
    for path in sorted(objects_below(old)):
        name = path.relative_to(old).as_posix()
        if name not in ours and not os.path.lexists(target / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(target / name)
    shutil.rmtree(old)


def _write_partial(contents: Contents, partial: Path) -> None:
    remove_object(partial)
    partial.mkdir(parents=True)
    for name, sha256 in contents.files.items():
        _link_or_copy(contents.source / name, partial / name)
        if not _is_whole(partial / name, sha256):
            raise ArtifactMismatch(
                f"{contents.source / name} is not the file that its manifest lists; run the stage that writes it again"
            )
    contents.change(partial)
    files = {path.relative_to(partial).as_posix(): sha256_of_file(path) for path in objects_below(partial)}
    write_json(partial / RECORD, {"artifacts": contents.artifacts, "files": files})


def _recorded(target: Path) -> dict[str, Any]:
    """What the folder's record says; nothing where it has none of this form.

    Versions before hashes wrote a list of names: those files are ours, and not known to be whole.
    """
    try:
        content = read_json(target / RECORD)
    except ArtifactMismatch:
        return {}
    if not isinstance(content, dict) or content.keys() != {"artifacts", "files"}:
        return {}
    if isinstance(content["files"], list):
        content["files"] = dict.fromkeys(map(str, content["files"]), "")
    return content if isinstance(content["files"], dict) else {}


def _is_whole(path: Path, sha256: str) -> bool:
    return kind_of_object(path, follow=False) == "file" and sha256_of_file(path) == sha256


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_size >= _LINK_FROM_BYTES and source.stat().st_mode & 0o777 == ordinary_mode():
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without hard links: copy
    shutil.copyfile(source, target)
