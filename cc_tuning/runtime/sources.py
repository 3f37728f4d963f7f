"""Where a step's inputs come from, and where a verified one can be loaded from."""

from dataclasses import dataclass
from pathlib import Path

from cc_tuning.errors import ConfigError
from data_contracts.fingerprint import digest_of_files
from data_contracts.store import ArtifactRef, ArtifactStore


@dataclass(frozen=True)
class LocalSource:
    """A file or folder of the user's: its path is place, its contents are identity."""

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "LocalSource":
        """The source at `path`, its contents hashed.

        Raises:
            ConfigError: there is nothing at `path`, or it cannot be read.
        """
        try:
            if not path.exists():
                raise ConfigError(f"{path.absolute()} does not exist; check the path in the recipe")
            return cls(path.absolute(), digest_of_files(path))
        except OSError as error:
            raise ConfigError(f"{path.absolute()} cannot be read: {error.strerror}; check its permissions") from error


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
            return Location(str(source.path)), {"sha256": source.sha256, "name": source.path.name}
        case HubSource():
            location = Location(source.repo_id, source.revision)
            return location, {"hub": source.repo_id, "revision": source.revision}
