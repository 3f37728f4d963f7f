"""A mirror of stores in an object store: finished artifacts, to be fetched where a local store lacks them.

    URL/<stage>/<fingerprint>/<sha256>         a file of the artifact, named by its contents
    URL/<stage>/<fingerprint>/manifest.json    byte for byte the artifact's own; written last, and with it the artifact
                                               counts

Since an object's name is the hash of its contents, two who push different makings of one artifact never mix their
files, a push that was killed goes on where it stopped, and what it left does no harm. To remove an artifact, remove its
folder.

As in a store, an artifact counts while its inputs are the very ones it was made from: those of the mirror for whoever
pushes, those of the local store for whoever fetches. The first whole making stays, and makings of other inputs are not
taken, so that what stands in a mirror fits together. A mirror is trusted as the store is: every byte is held against a
digest, and nobody's signature.
"""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from data_contracts.artifact_files import check_inside, remove_object, surplus_objects
from data_contracts.errors import ArtifactMismatch, MadeByLaterVersion, OtherMaking
from data_contracts.files import kind_of_object, sha256_of_file
from data_contracts.inventory import Entry, State
from data_contracts.manifest import FileRecord, Manifest
from data_contracts.manifest_file import LARGEST_BYTES, MANIFEST, check_identity, manifest_of
from data_contracts.object_store import ObjectStore
from data_contracts.store import ArtifactRef, ArtifactStore

_UNREADABLE: State = "unreadable"
_UNKNOWN_TIME = "1970-01-01T00:00:00+00:00"


class Mirror:
    """The artifacts below a URL; every method may raise MirrorUnavailable."""

    def __init__(self, url: str) -> None:
        self._objects = ObjectStore(url)
        self.url = self._objects.url

    def is_there(self, ref: ArtifactRef) -> bool:
        """Whether the artifact has a manifest here; one small request."""
        return self._manifest_text(ref) is not None

    def manifest(self, ref: ArtifactRef) -> Manifest | None:
        """The manifest of an artifact, held against its digest and its name; None where there is none.

        Raises:
            ArtifactMismatch, MadeByLaterVersion: as of a store's `manifest`.
        """
        content = self._manifest_text(ref)
        return None if content is None else self._read(ref, content)

    def push(self, ref: ArtifactRef, store: ArtifactStore, *, again: bool = False) -> bool:
        """Upload a finished artifact unless it stands here whole; returns whether it was uploaded.

        `again` uploads every file, for one whose damage somebody found: a push alone compares sizes.

        Raises:
            ArtifactMismatch: it is damaged in `store`.
            OtherMaking: an input is missing here, or another making.
            MadeByLaterVersion: one stands here that a later version wrote; it is left as it is.
        """
        manifest = store.verify(ref)
        if not again and self._stands(ref):
            return False
        self._check_inputs(ref, manifest)
        there = {} if again else self._objects.sizes(_folder(ref))
        for record in {record.sha256: record for record in manifest.files}.values():
            if there.get(record.sha256) != record.size:
                self._objects.put(store.folder(ref) / record.path, f"{_folder(ref)}/{record.sha256}")
        self._objects.put(store.folder(ref) / MANIFEST, f"{_folder(ref)}/{MANIFEST}")
        return True

    def fetch(self, ref: ArtifactRef, store: ArtifactStore) -> Manifest | None:
        """Copy an artifact into `store`, whose lock of it is held; None where it is not here.

        It is verified as one that was always there, and takes its name when it is whole. A fetch that was killed goes
        on with the files it had.

        Raises:
            ArtifactMismatch: it is damaged here.
            OtherMaking: it was made from another making of an input than `store` has.
            MadeByLaterVersion: a later version wrote it.
            OSError: the local disk cannot be written.
        """
        content = self._manifest_text(ref)
        if content is None:
            return None
        manifest = self._read(ref, content)
        store.verify_inputs(ref, manifest)
        self._check_sizes(ref, manifest)
        store.withdraw(ref)
        received = store.open_received(ref)
        for record in manifest.files:
            _check_name(received, record)
            self._get(ref, record, received)
        (received / MANIFEST).write_bytes(content)
        for path in list(surplus_objects(received, manifest.files)):
            remove_object(path)
        return store.adopt(ref)

    def verify(self, ref: ArtifactRef) -> Manifest:
        """The manifest of an artifact whose every file was read and hashed, and whose inputs here are unchanged.

        Raises:
            ArtifactMismatch, MadeByLaterVersion: names the first thing that does not agree.
        """
        manifest = self.manifest(ref)
        if manifest is None:
            raise ArtifactMismatch(f"{self._place(ref)} has no {MANIFEST}: its push did not end; push it again")
        self._check_sizes(ref, manifest)
        for record in {record.sha256: record for record in manifest.files}.values():
            if (found := self._objects.sha256(f"{_folder(ref)}/{record.sha256}")) != record.sha256:
                raise ArtifactMismatch(
                    f"{self._place(ref)}: {record.path} is damaged: sha256 {found[:12]}…, its manifest says "
                    f"{record.sha256[:12]}…"
                )
        self._check_inputs(ref, manifest)
        return manifest

    def entries(self) -> tuple[Entry, ...]:
        """Every artifact here, sorted by stage and fingerprint; manifests are read, files are counted."""
        sizes: dict[ArtifactRef, dict[str, int]] = {}
        for name, size in self._objects.sizes().items():
            stage, _, rest = name.partition("/")
            fingerprint, _, file = rest.partition("/")
            if file:
                sizes.setdefault(ArtifactRef(stage, fingerprint), {})[file] = size
        return tuple(self._entry(ref, sizes[ref]) for ref in sorted(sizes, key=lambda ref: ref.identity))

    def _entry(self, ref: ArtifactRef, sizes: Mapping[str, int]) -> Entry:
        manifest, state = None, _UNREADABLE
        try:
            manifest = self.manifest(ref)
            state = "finished" if manifest else "left unfinished"
        except (ArtifactMismatch, MadeByLaterVersion):
            pass  # it is listed as what it is
        return Entry(
            ref=ref,
            state=state,
            label=manifest.label if manifest else "",
            bytes=sum(sizes.values()),
            used_at=datetime.fromisoformat(manifest.finished_at if manifest else _UNKNOWN_TIME),
            is_pinned=False,
            inputs=tuple(ArtifactRef(each["stage"], each["fingerprint"]) for each in _artifacts(manifest).values()),
        )

    def _stands(self, ref: ArtifactRef) -> bool:
        """Whether the artifact is here with all its files, by their sizes, and with the inputs it was made from."""
        try:
            manifest = self.manifest(ref)
            if manifest is None:
                return False
            self._check_sizes(ref, manifest)
            self._check_inputs(ref, manifest)
        except ArtifactMismatch:
            return False
        return True

    def _check_sizes(self, ref: ArtifactRef, manifest: Manifest) -> None:
        there = self._objects.sizes(_folder(ref))
        for record in manifest.files:
            size = there.get(record.sha256)
            if size != record.size:
                found = "is missing" if size is None else f"has {size} bytes"
                raise ArtifactMismatch(
                    f"{self._place(ref)}: {record.path} {found}, its manifest says {record.size} bytes"
                )

    def _check_inputs(self, ref: ArtifactRef, manifest: Manifest) -> None:
        for name, recorded in _artifacts(manifest).items():
            source = ArtifactRef(recorded["stage"], recorded["fingerprint"])
            content = self._manifest_text(source)
            if content is None or sha256(content).hexdigest() != recorded.get("manifest_sha256"):
                found = "holds no" if content is None else "holds another making of its"
                raise OtherMaking(f"{self.url} {found} input '{name}' of {ref.stage} {ref.fingerprint[:12]}")

    def _manifest_text(self, ref: ArtifactRef) -> bytes | None:
        return self._objects.read(f"{_folder(ref)}/{MANIFEST}", LARGEST_BYTES)

    def _read(self, ref: ArtifactRef, content: bytes) -> Manifest:
        path = f"{self._place(ref)}/{MANIFEST}"
        try:
            manifest = manifest_of(content.decode("utf-8"), path)
        except UnicodeDecodeError as error:
            raise ArtifactMismatch(f"{path} is not UTF-8 ({error})") from error
        check_identity(manifest, ref.stage, ref.fingerprint, self._place(ref))
        return manifest

    def _get(self, ref: ArtifactRef, record: FileRecord, folder: Path) -> None:
        target = folder / record.path
        if kind_of_object(target, follow=False) == "file" and sha256_of_file(target) == record.sha256:
            return
        remove_object(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._objects.get(f"{_folder(ref)}/{record.sha256}", target)
        with target.open("rb") as file:
            os.fsync(file.fileno())

    def _place(self, ref: ArtifactRef) -> str:
        return f"{self.url}/{_folder(ref)}"


def _folder(ref: ArtifactRef) -> str:
    return f"{ref.stage}/{ref.fingerprint}"


def _artifacts(manifest: Manifest | None) -> Mapping[str, dict[str, str]]:
    """The inputs of a manifest that are artifacts themselves, as it records them."""
    inputs = manifest.inputs if manifest else {}
    return {name: recorded for name, recorded in inputs.items() if {"stage", "fingerprint"} <= recorded.keys()}


def _check_name(folder: Path, record: FileRecord) -> None:
    """Refuse a file that cannot be written below `folder` under its name, or an object that has no hash for a name."""
    check_inside(folder, record)
    if not re.fullmatch(r"[0-9a-f]{64}", record.sha256) or not _is_a_name(record.path):
        raise ArtifactMismatch(f"{folder} would hold {record.path[:200]!r}, which no file of an artifact is called")


def _is_a_name(path: str) -> bool:
    parts = path.split("/")
    return "\0" not in path and all(part and len(part.encode()) <= 255 for part in parts) and len(path) < 2_000
