"""A step of the pipeline: a stage with its config and inputs, found in the store or made now.

A step knows its fingerprint before anything has run, because the fingerprint hashes configs and the fingerprints of its
inputs, never outputs. So a whole recipe can be planned at once, and the flow, the per-stage commands and the nightly
share one cache.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.device_meter import metered
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.full_disk import full_disk
from cc_tuning.runtime.mirroring import Mirrored
from cc_tuning.runtime.progress import Progress
from cc_tuning.runtime.provenance import library_versions, peak_memory_bytes, source_commit
from cc_tuning.runtime.sources import Location, Source, identity_of_source, require_untouched, resolve
from cc_tuning.runtime.threads import RunAll, in_threads
from data_contracts.artifact_files import file_records
from data_contracts.errors import ArtifactMismatch, StoreUnavailable
from data_contracts.fingerprint import fingerprint
from data_contracts.manifest import Manifest, RowCounts
from data_contracts.store import ArtifactRef, ArtifactStore, unavailable

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT", bound=BaseModel)


@dataclass(frozen=True)
class Build(Generic[ConfigT]):
    """What the function of a stage is given."""

    config: ConfigT
    inputs: Mapping[str, Location]
    folder: Path
    """Everything is written here. After a kill, a resumable stage finds what it had written."""
    execution: Execution
    progress: Progress
    run_all: RunAll = in_threads
    """Starts the threads that watch over worker processes; an orchestrator brings its own, so that it sees them."""


@dataclass(frozen=True)
class Stage:
    """A kind of step: what it is called, what it does, and what whoever runs it has to know."""

    name: str
    version: int
    """Raised when the stage's output changes its meaning."""
    sentence: str
    """What it does, for the command line, the flows and the documents."""
    function: str | Callable[[Build[Any]], RowCounts]
    """`package.module:name`, imported when the stage runs: a plan needs none of what a stage needs."""
    tags: tuple[str, ...] = ()
    retries: int = 0
    """Of a dead worker or a failing network; a mistake in recipe or data is never tried again."""
    resumable: bool = False
    """Whether its function can go on from what a killed run left in its folder."""

    def step(self, config: BaseModel, run: str = "", /, **inputs: Source | None) -> "Step":
        """The step of `config` and `inputs`, of which those that are None are left out; `run` is for people."""
        label = f"{self.name} {run}".rstrip()
        return Step(self, config, {name: source for name, source in inputs.items() if source is not None}, label)

    def build(self, build: Build[Any]) -> RowCounts:
        """Call the stage's function."""
        if not isinstance(self.function, str):
            return self.function(build)
        module, _, name = self.function.partition(":")
        counts: RowCounts = getattr(import_module(module), name)(build)
        return counts


@dataclass(frozen=True)
class Step:
    """One stage with its config and inputs."""

    stage: Stage
    config: BaseModel
    inputs: Mapping[str, Source]
    label: str
    """For people: the stage, and the run it belongs to."""

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of stage, version, config and the identities of the inputs."""
        inputs = {name: identity_of_source(source) for name, source in self.inputs.items()}
        return fingerprint(self.stage.name, self.stage.version, self.config, inputs)

    @property
    def ref(self) -> ArtifactRef:
        """The artifact this step makes."""
        return ArtifactRef(self.stage.name, self.fingerprint)


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    ref: ArtifactRef
    manifest: Manifest
    was_cached: bool


def find_cached(step: Step, store: ArtifactStore) -> Manifest | None:
    """The manifest of the step's artifact when it is there and sound; otherwise None, and the log says why."""
    if not store.is_there(step.ref):
        return None
    try:
        return store.verify(step.ref)
    except ArtifactMismatch as mismatch:
        logger.warning("%s: made again, because %s", step.label, mismatch)
        return None


def run_step(
    step: Step, store: ArtifactStore, execution: Execution, progress: Progress, run_all: RunAll = in_threads
) -> Outcome:
    """The step's artifact: found and verified, fetched from the mirror, or made now. Two that ask at once make it once.

    Raises:
        MirrorUnavailable: the mirror of `execution` cannot be reached, and the store does not have it.
        StoreUnavailable: the store cannot be written (read-only, full).
        ArtifactMismatch: an input is missing or damaged; run the step that makes it first.
    """
    with ExitStack() as held:
        try:
            held.enter_context(store.locked(step.ref))
        except StoreUnavailable:
            # A finished store can be read where it cannot be written.
            if (found := find_cached(step, store)) is None:
                raise
            return Outcome(step.ref, found, was_cached=True)
        mirrored = Mirrored(step.ref, step.label, store, execution)
        manifest = find_cached(step, store)
        was_here = manifest is not None
        try:
            manifest = manifest or mirrored.fetch()
            outcome = Outcome(
                step.ref, manifest or _make(step, store, execution, progress, run_all), was_cached=manifest is not None
            )
        except Exception as error:
            blamed = full_disk(error, store.root)
            if blamed is None and isinstance(error, OSError) and store.is_to_blame(error):
                blamed = error
            if blamed is None:
                raise
            raise unavailable(blamed, Path(blamed.filename or store.root)) from error
        if was_here or not outcome.was_cached:  # what was fetched is there
            mirrored.push(was_made=not was_here)
        return outcome


def open_step(
    step: Step, store: ArtifactStore, execution: Execution, progress: Progress, run_all: RunAll = in_threads
) -> tuple[Build[Any], dict[str, dict[str, str]]]:
    """What the step's function is given, and how its inputs are recorded; the caller holds the lock."""
    resolved = {name: resolve(source, store) for name, source in step.inputs.items()}
    inputs = {name: location for name, (location, _) in resolved.items()}
    recorded = {name: record for name, (_, record) in resolved.items()}
    store.withdraw(step.ref)
    folder = store.open_partial(step.ref, recorded, keep=step.stage.resumable)
    return Build(step.config, inputs, folder, execution, progress, run_all), recorded


def _make(step: Step, store: ArtifactStore, execution: Execution, progress: Progress, run_all: RunAll) -> Manifest:
    build, recorded = open_step(step, store, execution, progress, run_all)
    started = time.monotonic()
    logger.info("%s: started, fingerprint %s", step.label, step.fingerprint[:12])
    uses_gpu = "gpu" in step.stage.tags and execution.device != "cpu"
    with _untouched_inputs(step, store, recorded), metered(uses_gpu) as meter:
        rows = step.stage.build(build)
    seconds = time.monotonic() - started
    manifest = Manifest(
        stage=step.stage.name,
        version=step.stage.version,
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
        cpu_seconds=meter.cpu_seconds,
        gpu=meter.gpu,
        finished_at=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    store.finish(step.ref, manifest)
    logger.info("%s: finished in %.1f s; %s", step.label, seconds, rows)
    return manifest


@contextmanager
def _untouched_inputs(step: Step, store: ArtifactStore, recorded: Mapping[str, dict[str, str]]) -> Iterator[None]:
    """A context in which a stage reads its inputs; what it made of one that was written to meanwhile is not kept.

    Raises:
        ConfigError: a local source was written to.
    """
    try:
        yield
    finally:
        try:
            require_untouched((source, recorded[name]) for name, source in step.inputs.items())
        except ConfigError:
            store.forget_partial(step.ref)
            raise
