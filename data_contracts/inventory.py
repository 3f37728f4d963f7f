"""What a store holds: which artifacts, how large, when last used, who needs whom; and what of it may be removed.

STORE/<stage>/<fingerprint>.pin    the artifact, and what it was made from, is kept whatever its age
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from data_contracts.artifact_files import objects_below, remove_object
from data_contracts.errors import ArtifactMismatch, DataContractError
from data_contracts.files import kind_of_object, read_json, written_atomically
from data_contracts.locks import is_held
from data_contracts.store import ArtifactRef, ArtifactStore

State = Literal["finished", "being made", "left unfinished", "unreadable"]


@dataclass(frozen=True)
class Entry:
    """One artifact of a store, finished or not."""

    ref: ArtifactRef
    state: State
    label: str
    """For people: the stage, and the run it belongs to; empty where no manifest says it."""
    bytes: int
    used_at: datetime
    """When a run last asked for it; UTC."""
    is_pinned: bool
    inputs: tuple[ArtifactRef, ...]
    """What it was, or is being, made from."""


def list_store(store: ArtifactStore) -> tuple[Entry, ...]:
    """Every artifact of the store, sorted by stage and fingerprint; their files are counted, not hashed."""
    refs = set()
    for stage in sorted(store.root.iterdir()) if store.root.is_dir() else []:
        if stage.is_dir() and not stage.name.startswith("."):
            names = (path.name.removesuffix(".partial").removesuffix(".received") for path in stage.iterdir())
            refs |= {ArtifactRef(stage.name, name) for name in names if "." not in name}
    return tuple(_entry(store, ref) for ref in sorted(refs, key=lambda ref: ref.identity))


def find_artifacts(entries: Sequence[Entry], name: str) -> list[ArtifactRef]:
    """The artifacts of the stage `name`, or the one that `STAGE/FINGERPRINT` or the beginning of either names.

    Raises:
        ArtifactMismatch: none has that name, or several have that beginning.
    """
    if of_stage := [entry.ref for entry in entries if entry.ref.stage == name]:
        return of_stage
    found = [entry.ref for entry in entries if _is_called(entry.ref, name)]
    if len(found) != 1:
        several = ", ".join(ref.identity[:40] for ref in found[:4]) or "none"
        raise ArtifactMismatch(
            f"{name!r} names {len(found)} artifacts ({several}), expected one; write STAGE, or STAGE/FINGERPRINT"
        )
    return found


def needed_by(entries: Iterable[Entry]) -> Mapping[ArtifactRef, tuple[ArtifactRef, ...]]:
    """For each artifact those that were made from it directly."""
    needs: dict[ArtifactRef, tuple[ArtifactRef, ...]] = {}
    for entry in entries:
        for source in entry.inputs:
            needs[source] = (*needs.get(source, ()), entry.ref)
    return needs


def with_inputs(entries: Iterable[Entry], refs: Iterable[ArtifactRef]) -> frozenset[ArtifactRef]:
    """`refs` and everything that they were made from, directly or not."""
    inputs = {entry.ref: entry.inputs for entry in entries}
    found: set[ArtifactRef] = set()
    waiting = list(refs)
    while waiting:
        ref = waiting.pop()
        if ref not in found:
            found.add(ref)
            waiting += inputs.get(ref, ())
    return frozenset(found)


def removable(entries: Sequence[Entry], keep: Iterable[ArtifactRef], used_before: datetime) -> tuple[Entry, ...]:
    """What nobody needs any more: last used before `used_before`, and neither kept nor an input of what is kept.

    Kept are `keep`, what is pinned, and what is being made at this moment.
    """
    held = [entry.ref for entry in entries if entry.is_pinned or entry.state == "being made"]
    young = [entry.ref for entry in entries if entry.used_at >= used_before]
    needed = with_inputs(entries, (*keep, *held, *young))
    return tuple(entry for entry in entries if entry.ref not in needed)


def remove(store: ArtifactStore, ref: ArtifactRef) -> bool:
    """Remove an artifact with its lock file, unless a process has begun to use it; whether it was removed."""
    if is_held(store.lock_path(ref)):
        return False
    store.discard(ref)
    store.lock_path(ref).unlink(missing_ok=True)
    return True


def pin(store: ArtifactStore, ref: ArtifactRef, *, pinned: bool) -> None:
    """Keep the artifact, and what it was made from, whatever its age; or no longer."""
    if pinned:
        with written_atomically(_pin_path(store, ref)) as temporary:
            temporary.write_text(f"pinned {datetime.now(UTC).isoformat(timespec='seconds')}\n", encoding="utf-8")
    else:
        remove_object(_pin_path(store, ref))


def _entry(store: ArtifactStore, ref: ArtifactRef) -> Entry:
    finished, lock = store.folder(ref), store.lock_path(ref)
    unfinished = [finished.with_name(f"{ref.fingerprint}{ending}") for ending in (".partial", ".received")]
    folders = [finished] if store.is_there(ref) else unfinished
    label, state, recorded = _described(store, ref)
    used = [path.lstat().st_mtime for path in (*folders, lock) if os.path.lexists(path)]
    return Entry(
        ref=ref,
        state="being made" if is_held(lock) else state,
        label=label,
        bytes=sum(map(_bytes_of, folders)),
        used_at=datetime.fromtimestamp(max(used, default=0.0), UTC),
        is_pinned=os.path.lexists(_pin_path(store, ref)),
        inputs=tuple(
            ArtifactRef(each["stage"], each["fingerprint"])
            for each in recorded.values()
            if {"stage", "fingerprint"} <= each.keys()
        ),
    )


def _described(store: ArtifactStore, ref: ArtifactRef) -> tuple[str, State, Mapping[str, Mapping[str, str]]]:
    if store.is_there(ref):
        try:
            manifest = store.manifest(ref)
        except DataContractError:
            return "", "unreadable", {}
        return manifest.label, "finished", manifest.inputs
    try:
        recorded = read_json(store.folder(ref).with_name(f"{ref.fingerprint}.partial.json"))
    except ArtifactMismatch:
        recorded = {}
    return "", "left unfinished", recorded if isinstance(recorded, dict) else {}


def _bytes_of(folder: Path) -> int:
    if kind_of_object(folder, follow=False) != "folder":
        return 0
    return sum(path.lstat().st_size for path in objects_below(folder))


def _is_called(ref: ArtifactRef, name: str) -> bool:
    stage, slash, fingerprint = name.rpartition("/")
    return bool(fingerprint) and ref.fingerprint.startswith(fingerprint) and (not slash or ref.stage == stage)


def _pin_path(store: ArtifactStore, ref: ArtifactRef) -> Path:
    return store.root / ref.stage / f"{ref.fingerprint}.pin"
