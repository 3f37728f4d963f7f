"""Where a step's inputs come from, and where a verified one can be loaded from.

A plan hashes a local source to know its fingerprint; whoever uses the source hashes it again, and looks once more when
the stage is done. So what was used is what the fingerprint says, or the stage is refused.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cc_tuning.errors import ConfigError
from data_contracts.errors import NotAFile
from data_contracts.files import kind_of_object, sha256_of_file
from data_contracts.fingerprint import digest_of_files, stamp_of_files
from data_contracts.store import ArtifactRef, ArtifactStore


@dataclass(frozen=True)
class LocalSource:
    """A file or folder of the user's: its path is place, its contents are identity."""

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "LocalSource":
        """The source at `path`, its contents hashed.

        Of a file that this process has hashed before the digest is remembered while its size and times are unchanged;
        `resolve` remembers nothing.

        Raises:
            ConfigError: there is nothing at `path`, it is neither a file nor a folder, or it cannot be read.
        """
        path = path.absolute()
        try:
            kind = kind_of_object(path)
            if kind == "nothing":
                raise ConfigError(f"{_shown(path)} does not exist; check the path in the recipe")
            if kind not in ("file", "folder"):
                raise ConfigError(f"{path} is a {kind}, expected a file or a folder; check the path in the recipe")
            return cls(path, digest_of_files(path, _remembered_sha256))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
        except NotAFile as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub, pinned to a revision."""

    repo_id: str
    revision: str


Source = ArtifactRef | LocalSource | HubSource


@dataclass(frozen=True)
class Location:
    """Where a verified input can be loaded from: an absolute path, or a hub id with its revision."""

    name: str
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a path on this machine."""
        return self.revision is None

    @property
    def path(self) -> Path:
        """The local path.

        Raises:
            ConfigError: it is a hub id.
        """
        if not self.is_local:
            raise ConfigError(f"{self.name} is a hub id, a local path is needed here")
        return Path(self.name)


def identity_of_source(source: Source) -> str:
    """What of a source goes into the fingerprint of the step that reads it."""
    match source:
        case ArtifactRef():
            return source.identity
        case LocalSource():
            return f"sha256:{source.sha256}"
        case HubSource():
            return f"hub:{source.repo_id}@{source.revision}"


def resolve(source: Source, store: ArtifactStore) -> tuple[Location, dict[str, str]]:
    """Where `source` can be loaded from, and how a manifest records it.

    Raises:
        ArtifactMismatch: an artifact is missing or damaged; run the step that makes it first.
    """
    match source:
        case ArtifactRef():
            store.verify(source)
            return Location(str(store.path(source))), {
                "stage": source.stage, "fingerprint": source.fingerprint, "subpath": source.subpath,
                "manifest_sha256": store.manifest_digest(source),
            }  # fmt: skip
        case LocalSource():
            stamp = _stamp(source)
            _require_planned(source)
            return Location(str(source.path)), {"sha256": source.sha256, "name": source.path.name, "stamp": stamp}
        case HubSource():
            location = Location(source.repo_id, source.revision)
            return location, {"hub": source.repo_id, "revision": source.revision}


def require_untouched(inputs: Iterable[tuple[Source, dict[str, str]]]) -> None:
    """Refuse what was read from a local source that was written to since `resolve` recorded it.

    Raises:
        ConfigError: names the source, with its hash when the plan was made and its hash now.
    """
    for source, recorded in inputs:
        if isinstance(source, LocalSource) and _stamp(source) != recorded["stamp"]:
            _require_planned(source)
            raise ConfigError(
                f"{source.path} was written to while it was read, though its sha256 is {source.sha256} as in the plan; "
                "what was made of it is thrown away. Leave it alone and run again"
            )


def _stamp(source: LocalSource) -> str:
    try:
        return stamp_of_files(source.path)
    except OSError as error:
        raise ConfigError(f"{source.path} cannot be read any more: {error.strerror}; put it back") from error


def _require_planned(source: LocalSource) -> None:
    try:
        found = digest_of_files(source.path)
    except OSError as error:
        raise ConfigError(f"{source.path} cannot be read any more: {error.strerror}; put it back") from error
    if found != source.sha256:
        raise ConfigError(
            f"{source.path} changed after the plan was made: its sha256 was {source.sha256} then and is {found} now; "
            "nothing is made of it. Leave it alone while a recipe runs, and run again"
        )


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 300 else f"{text[:100]}… ({len(text)} characters)"


def _remembered_sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_while_unchanged(
        os.path.realpath(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


@lru_cache(maxsize=4096)
def _sha256_while_unchanged(path: str, *_of_this_making: int) -> str:
    return sha256_of_file(Path(path))
