"""Small finished artifacts, whose names follow from what they say of themselves as those of stages do."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cc_tuning.runtime.step import Build, Step
from data_contracts.artifact_files import file_records
from data_contracts.fingerprint import fingerprint
from data_contracts.manifest import Manifest, RowCounts
from data_contracts.store import ArtifactRef, ArtifactStore

Inputs = Mapping[str, dict[str, str]]


def ref_of(stage: str, config: Mapping[str, Any] | None = None, inputs: Inputs | None = None) -> ArtifactRef:
    """The name of the artifact of version 1 of `stage` with this config and these recorded inputs."""
    identities = {name: f"{each['stage']}/{each['fingerprint']}" for name, each in (inputs or {}).items()}
    return ArtifactRef(stage, fingerprint(stage, 1, config or {}, identities))


def recorded(store: ArtifactStore, ref: ArtifactRef) -> dict[str, str]:
    """How the manifest of what is made from the artifact `ref` records it."""
    return {"stage": ref.stage, "fingerprint": ref.fingerprint, "manifest_sha256": store.manifest_digest(ref)}


def finish(
    store: ArtifactStore,
    stage: str,
    files: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    inputs: Inputs | None = None,
    mode: int = 0o600,
) -> ArtifactRef:
    """The name of an artifact that is now in the store with `files` (their texts by name).

    They were written for the owner alone, as some libraries do, or with another `mode`.
    """
    ref = ref_of(stage, config, inputs)
    with store.locked(ref):
        folder = store.open_partial(ref, inputs or {}, keep=False)
        for name, text in files.items():
            write(folder / name, text)
            (folder / name).chmod(mode)
        manifest = Manifest(
            stage=stage, version=1, fingerprint=ref.fingerprint, label=stage, config=dict(config or {}),
            inputs=dict(inputs or {}), files=file_records(folder), rows=RowCounts(read=1, kept=1), commit="unknown",
            versions={}, seconds=0.5, peak_memory_bytes=0, finished_at="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
        store.finish(ref, manifest)
    return ref


def writing(step: Step, write_files: Callable[[Path], object], rows: int) -> Step:
    """The step of another stage that has its name and writes other files: those that `write_files` puts into a folder.

    Everything but the files is as the stage itself would have it, so the store cannot tell the two apart.
    """

    def build(build: Build[Any]) -> RowCounts:
        write_files(build.folder)
        return RowCounts(read=rows, kept=rows)

    return replace(step, stage=replace(step.stage, function=build, resumable=False))


def write(path: Path, text: str) -> None:
    """Write `text` to `path`, whose folder is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
