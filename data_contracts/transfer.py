"""Artifacts from one store to another, each whole or not at all: verified where it was, and again where it is now."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from data_contracts.artifact_files import remove_object
from data_contracts.errors import ArtifactMismatch
from data_contracts.manifest_file import MANIFEST
from data_contracts.store import ArtifactRef, ArtifactStore


def transfer(ref: ArtifactRef, source: ArtifactStore, target: ArtifactStore) -> bool:
    """Copy an artifact from `source` to `target`, whose inputs must be there; whether it had to be copied.

    A sound artifact of `target` stays, also where it is another making than that of `source`. A killed copy leaves a
    folder that no run takes for its own.

    Raises:
        ArtifactMismatch: it is damaged in `source`, or an input is missing or another making in `target`.
        StoreUnavailable: `target` cannot be written.
    """

    def copy() -> None:
        manifest = source.verify(ref)
        remove_object(target.open_received(ref))
        received = target.open_received(ref)
        for name in (*(record.path for record in manifest.files), MANIFEST):
            _copy(source.folder(ref) / name, received / name)
        target.adopt(ref)

    return received_unless_sound(ref, target, copy)


def received_unless_sound(ref: ArtifactRef, target: ArtifactStore, receive: Callable[[], object]) -> bool:
    """Call `receive`, which adopts the artifact into `target`, unless a sound one is there; whether it was called.

    Raises:
        StoreUnavailable: `target` cannot be written.
    """
    with target.locked(ref):
        if target.is_there(ref):
            try:
                target.verify(ref)
                return False
            except ArtifactMismatch:
                target.withdraw(ref)
        receive()
        return True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
