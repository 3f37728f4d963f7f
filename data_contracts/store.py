"""Verified artifacts on disk, and the only code that knows where they lie.

    STORE/<stage>/<fingerprint>/            finished: manifest.json was written last, then the folder took this name
    STORE/<stage>/<fingerprint>.partial/    being made, or left by a killed run; .partial.json says from which inputs
    STORE/<stage>/<fingerprint>.received/   a copy of a finished one, on its way here from another store or the mirror
    STORE/<stage>/<fingerprint>.lock        held with flock(2) while it is made; the kernel frees it

A finished artifact is trusted only after its manifest was found to be that of the step it is named after and unchanged
since it was written, every file in it was found and re-hashed, and no other is there; and only while its inputs are
still the very artifacts it was made from. Stages never build a store path themselves, so that a mirror can
fill this one (`mirror`).
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from data_contracts.artifact_files import remove_object, surplus_objects, verify_files
from data_contracts.errors import ArtifactMismatch, OtherMaking, StoreUnavailable
from data_contracts.files import kind_of_object, read_json, sha256_of_file, sync_directory, write_json
from data_contracts.locks import held_lock
from data_contracts.manifest import Manifest
from data_contracts.manifest_file import MANIFEST, check_identity, read_manifest, write_manifest


@dataclass(frozen=True)
class ArtifactRef:
    """The name of an artifact, known before it is made; `subpath` points to a file or folder inside it."""

    stage: str
    fingerprint: str
    subpath: str = ""

    def at(self, subpath: str) -> "ArtifactRef":
        """The same artifact, pointing to `subpath` inside it."""
        return replace(self, subpath=subpath)

    @property
    def identity(self) -> str:
        """The text that stands for it in the fingerprint of what is made from it."""
        return "/".join(part for part in (self.stage, self.fingerprint, self.subpath) if part)


class ArtifactStore:
    """A folder of verified artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()

    def folder(self, ref: ArtifactRef) -> Path:
        """Where the finished artifact lies, whether or not it is there."""
        return self.root / ref.stage / ref.fingerprint

    def path(self, ref: ArtifactRef) -> Path:
        """The path that `ref` points to: the artifact's folder, or `subpath` inside it."""
        return self.folder(ref) / ref.subpath

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """The manifest of a finished artifact, read without checking its files.

        Raises:
            ArtifactMismatch: there is none, or it is damaged.
            MadeByLaterVersion: it has every key that this version knows, and others.
            StoreUnavailable: this user may not read it.
        """
        with _permitted():
            if (kind := kind_of_object(self.folder(ref), follow=False)) not in ("folder", "nothing"):
                raise ArtifactMismatch(f"{self.folder(ref)} is a {kind}, expected a folder")
            return read_manifest(self.folder(ref) / MANIFEST)

    def manifest_digest(self, ref: ArtifactRef) -> str:
        """The sha256 of an artifact's manifest: it changes whenever the artifact is made again."""
        return sha256_of_file(self.folder(ref) / MANIFEST)

    def is_there(self, ref: ArtifactRef) -> bool:
        """Whether something has the artifact's name; `verify` says whether it is the artifact."""
        return os.path.lexists(self.folder(ref))

    def verify(self, ref: ArtifactRef) -> Manifest:
        """The manifest of an artifact that is what its name says, whose every file was found and re-hashed, beside
        which there is no other, and whose inputs are unchanged.

        Raises:
            ArtifactMismatch: names the first thing that does not agree.
            MadeByLaterVersion, StoreUnavailable: as of `manifest`, the latter for any of its files.
        """
        manifest = self.manifest(ref)
        folder = self.folder(ref)
        check_identity(manifest, ref.stage, ref.fingerprint, folder)
        with _permitted():
            verify_files(folder, manifest.files)
        self.verify_inputs(ref, manifest)
        return manifest

    def verify_inputs(self, ref: ArtifactRef, manifest: Manifest) -> None:
        """Refuse an artifact whose inputs are not the very ones here.

        Raises:
            OtherMaking: an input is missing here, or was made again since.
        """
        for name, recorded in manifest.inputs.items():
            if "stage" in recorded:
                self._verify_input(ref, name, recorded)

    def _verify_input(self, ref: ArtifactRef, name: str, recorded: dict[str, str]) -> None:
        source = ArtifactRef(recorded["stage"], recorded["fingerprint"])
        path = self.folder(source) / MANIFEST
        is_file = kind_of_object(path, follow=False) == "file"
        if not is_file or sha256_of_file(path) != recorded.get("manifest_sha256"):
            raise OtherMaking(
                f"{self.folder(ref)} was made from another making of its input '{name}' ({source.identity[:24]}…)"
            )

    @contextmanager
    def locked(self, ref: ArtifactRef) -> Iterator[None]:
        """Hold the artifact's lock; a second process waits here, and finds the result when it enters."""
        path = self.lock_path(ref)
        with ExitStack() as held:
            try:
                held.enter_context(held_lock(path, f"{ref.stage} {ref.fingerprint[:12]}"))
            except OSError as error:
                raise unavailable(error, path) from error
            yield

    def lock_path(self, ref: ArtifactRef) -> Path:
        """The file whose lock is held while the artifact is made."""
        return self.root / ref.stage / f"{ref.fingerprint}.lock"

    def open_partial(self, ref: ArtifactRef, inputs: Mapping[str, Mapping[str, str]], *, keep: bool) -> Path:
        """The folder to write into, under the lock.

        `keep` leaves what a killed run wrote there, as long as that run read the very same `inputs`: shards made from
        an input that was since made again would mix two makings.
        """
        partial, record = self._partial(ref), self._partial_inputs(ref)
        if not (keep and kind_of_object(partial, follow=False) == "folder" and _says(record, inputs)):
            remove_object(partial)
            remove_object(record)
        partial.mkdir(parents=True, exist_ok=True)
        write_json(record, inputs)
        return partial

    def withdraw(self, ref: ArtifactRef) -> None:
        """Take a damaged or outdated artifact out of use; what it holds becomes the partial folder of the next try.

        Files that are not its own are removed. Where nobody knows what they were made from, all of them are: without a
        sound manifest, or with another step's.
        """
        folder, partial = self.folder(ref), self._partial(ref)
        if not self.is_there(ref):
            return
        remove_object(partial)
        remove_object(self._partial_inputs(ref))
        try:
            manifest = self.manifest(ref)
            check_identity(manifest, ref.stage, ref.fingerprint, folder)
        except ArtifactMismatch:
            remove_object(folder)
            return
        for path in list(surplus_objects(folder, manifest.files)):
            remove_object(path)
        write_json(self._partial_inputs(ref), manifest.inputs)
        (folder / MANIFEST).unlink()
        folder.replace(partial)

    def forget_partial(self, ref: ArtifactRef) -> None:
        """Remove what an unfinished try wrote; the caller holds the lock."""
        remove_object(self._partial_inputs(ref))
        remove_object(self._partial(ref))

    def is_to_blame(self, error: OSError) -> bool:
        """Whether an operating-system error is about writing here (a failing network or source is not)."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        return isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(self.root)

    def discard(self, ref: ArtifactRef) -> None:
        """Remove an artifact, finished or partial, so that it is made from nothing."""
        with self.locked(ref):
            self.forget_partial(ref)
            remove_object(self._received(ref))
            remove_object(self.folder(ref))

    def has_partial(self, ref: ArtifactRef) -> bool:
        """Whether a run is making the artifact, or was killed while it did."""
        return self._partial(ref).is_dir()

    def finish(self, ref: ArtifactRef, manifest: Manifest) -> None:
        """Write the manifest last and give the partial folder its final name."""
        write_manifest(self._partial(ref), manifest)
        self._take_name(ref, self._partial(ref))

    def open_received(self, ref: ArtifactRef) -> Path:
        """The folder to copy a finished artifact into, under the lock; an earlier copy may have left files there.

        What a killed run of the stage left in its partial folder stays until the copy is whole.
        """
        folder = self._received(ref)
        if kind_of_object(folder, follow=False) != "folder":
            remove_object(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def adopt(self, ref: ArtifactRef) -> Manifest:
        """Verify the copy in the folder of `open_received`, and give it its final name; returns its manifest.

        Raises:
            ArtifactMismatch: it is damaged, another step's, or made from other inputs than are here; it is removed.
        """
        folder = self._received(ref)
        try:
            manifest = read_manifest(folder / MANIFEST)
            check_identity(manifest, ref.stage, ref.fingerprint, folder)
            verify_files(folder, manifest.files)
            self.verify_inputs(ref, manifest)
        except ArtifactMismatch:
            remove_object(folder)
            raise
        self._take_name(ref, folder)
        self.forget_partial(ref)
        return manifest

    def _take_name(self, ref: ArtifactRef, folder: Path) -> None:
        folder.replace(self.folder(ref))
        remove_object(self._partial_inputs(ref))
        sync_directory(self.root / ref.stage)

    def _received(self, ref: ArtifactRef) -> Path:
        return self.root / ref.stage / f"{ref.fingerprint}.received"

    def _partial(self, ref: ArtifactRef) -> Path:
        return self.root / ref.stage / f"{ref.fingerprint}.partial"

    def _partial_inputs(self, ref: ArtifactRef) -> Path:
        return self.root / ref.stage / f"{ref.fingerprint}.partial.json"


def _says(record: Path, inputs: Mapping[str, Mapping[str, str]]) -> bool:
    try:
        return bool(read_json(record) == inputs)
    except ArtifactMismatch:
        return False


def unavailable(error: OSError, path: Path) -> StoreUnavailable:
    """The store's own words for an operating-system error at `path`."""
    advice = {
        errno.ENOSPC: "the disk is full: free some space; finished stages and shards are kept, so run it again",
        errno.EDQUOT: "the disk quota is used up: free some space and run it again",
        errno.EROFS: "the file system is read-only: point `execution.store` to a folder that can be written",
        errno.EACCES: "permission denied: point `execution.store` to a folder that can be written",
        errno.EPERM: "permission denied: point `execution.store` to a folder that can be written",
        errno.ENOTDIR: "a part of the path is a file: point `execution.store` to a folder",
        errno.EEXIST: "a part of the path is a file: point `execution.store` to a folder",
    }.get(error.errno or 0, "check the disk and the path")
    return StoreUnavailable(f"cannot write {path}: {error.strerror or error}; {advice}")


@contextmanager
def _permitted() -> Iterator[None]:
    """A file that this user may not read is neither damaged nor missing, so nothing is made again for it."""
    try:
        yield
    except PermissionError as error:
        raise StoreUnavailable(
            f"{error.filename} may not be read by this user: its owner has to allow it (chmod a+r), or set "
            "`execution.store` to a folder of your own"
        ) from error
