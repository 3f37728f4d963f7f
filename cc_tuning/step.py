"""A step of the pipeline: a stage, its identity, and the plain function that does the work.

A step knows its fingerprint before anything has run, because the fingerprint hashes configs and the fingerprints of its
inputs, never outputs. So a whole recipe can be planned at once, and the flow, the per-stage commands and the nightly
share one cache.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from cc_tuning.errors import ConfigError
from cc_tuning.execution import Execution
from cc_tuning.progress import Progress
from cc_tuning.provenance import library_versions, peak_memory_bytes, source_commit
from data_contracts.errors import ArtifactMismatch
from data_contracts.fingerprint import digest_of_files, fingerprint
from data_contracts.manifest import Manifest, RowCounts
from data_contracts.store import ArtifactRef, ArtifactStore, file_records, unavailable

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT", bound=BaseModel)


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


@dataclass(frozen=True)
class Build(Generic[ConfigT]):
    """What the function of a stage is given."""

    config: ConfigT
    inputs: Mapping[str, Location]
    folder: Path
    """Everything is written here. After a kill, a resumable stage finds what it had written."""
    execution: Execution
    progress: Progress


@dataclass(frozen=True)
class Step:
    """One stage with its config and inputs."""

    stage: str
    version: int
    """Raised when the stage's output changes its meaning."""
    config: BaseModel
    inputs: Mapping[str, Source]
    build: Callable[[Build[Any]], RowCounts]
    label: str
    """For people: the stage, and the run it belongs to."""
    resumable: bool = False
    """Whether `build` can go on from what a killed run left in its folder."""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of stage, version, config and the identities of the inputs."""
        return fingerprint(
            self.stage, self.version, self.config, {name: _identity(source) for name, source in self.inputs.items()}
        )

    @property
    def ref(self) -> ArtifactRef:
        """The artifact this step makes."""
        return ArtifactRef(self.stage, self.fingerprint)


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    ref: ArtifactRef
    manifest: Manifest
    was_cached: bool


def find_cached(step: Step, store: ArtifactStore) -> Manifest | None:
    """The manifest of the step's artifact when it is there and sound; otherwise None, and the log says why."""
    if not store.folder(step.ref).is_dir():
        return None
    try:
        return store.verify(step.ref)
    except ArtifactMismatch as mismatch:
        logger.warning("%s: made again, because %s", step.label, mismatch)
        return None


def run_step(step: Step, store: ArtifactStore, execution: Execution, progress: Progress) -> Outcome:
    """The step's artifact: found and verified, or made now. Two processes that ask at once make it once.

    Raises:
        StoreUnavailable: the store cannot be written (read-only, full).
        ArtifactMismatch: an input is missing or damaged; run the step that makes it first.
    """
    with store.locked(step.ref):
        manifest = find_cached(step, store)
        if manifest is not None:
            return Outcome(step.ref, manifest, was_cached=True)
        try:
            return Outcome(step.ref, _make(step, store, execution, progress), was_cached=False)
        except OSError as error:
            if not store.is_to_blame(error):
                raise
            raise unavailable(error, Path(error.filename or store.root)) from error


def open_step(
    step: Step, store: ArtifactStore, execution: Execution, progress: Progress
) -> tuple[Build[Any], dict[str, dict[str, str]]]:
    """What the step's function is given, and how its inputs are recorded; the caller holds the lock."""
    inputs, recorded = _resolve_inputs(step, store)
    store.withdraw(step.ref)
    folder = store.open_partial(step.ref, recorded, keep=step.resumable)
    return Build(step.config, inputs, folder, execution, progress), recorded


def _make(step: Step, store: ArtifactStore, execution: Execution, progress: Progress) -> Manifest:
    build, recorded = open_step(step, store, execution, progress)
    started = time.monotonic()
    logger.info("%s: started, fingerprint %s", step.label, step.fingerprint[:12])
    rows = step.build(build)
    seconds = time.monotonic() - started
    manifest = Manifest(
        stage=step.stage,
        version=step.version,
        fingerprint=step.fingerprint,
        label=step.label,
        config=step.config.model_dump(mode="json"),
        inputs=recorded,
        files=file_records(build.folder),
        rows=rows,
        commit=source_commit(),
        versions=library_versions(),
        seconds=round(seconds, 3),
        peak_memory_bytes=peak_memory_bytes(),
        finished_at=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    store.finish(step.ref, manifest)
    logger.info("%s: finished in %.1f s; %s", step.label, seconds, rows)
    return manifest


def _resolve_inputs(step: Step, store: ArtifactStore) -> tuple[dict[str, Location], dict[str, dict[str, str]]]:
    locations: dict[str, Location] = {}
    recorded: dict[str, dict[str, str]] = {}
    for name, source in step.inputs.items():
        match source:
            case ArtifactRef():
                store.verify(source)
                locations[name] = Location(str(store.path(source)))
                recorded[name] = {
                    "stage": source.stage, "fingerprint": source.fingerprint, "subpath": source.subpath,
                    "manifest_sha256": store.manifest_digest(source),
                }  # fmt: skip
            case LocalSource():
                locations[name] = Location(str(source.path))
                recorded[name] = {"sha256": source.sha256, "name": source.path.name}
            case HubSource():
                locations[name] = Location(source.repo_id, source.revision)
                recorded[name] = {"hub": source.repo_id, "revision": source.revision}
    return locations, recorded


def _identity(source: Source) -> str:
    match source:
        case ArtifactRef():
            return source.identity
        case LocalSource():
            return f"sha256:{source.sha256}"
        case HubSource():
            return f"hub:{source.repo_id}@{source.revision}"
