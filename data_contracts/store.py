"""Verified artifacts on disk, and the only code that knows where they lie.

    STORE/<stage>/<fingerprint>/            finished: manifest.json was written last, then the folder took this name
    STORE/<stage>/<fingerprint>.partial/    being made, or left by a killed run; .partial.json says from which inputs
    STORE/<stage>/<fingerprint>.lock        held with flock(2) while it is made; the kernel frees it

A finished artifact is trusted only after every file in its manifest was found and re-hashed, and only while its inputs
are still the very artifacts it was made from. Stages never build a store path themselves, so that a remote store can
take this one's place.
"""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from data_contracts.errors import ArtifactMismatch, MadeByLaterVersion, StoreUnavailable
from data_contracts.files import ordinary_mode, read_json, sha256_of_file, sync_directory, write_json
from data_contracts.manifest import FileRecord, Manifest

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"


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
        path = self.folder(ref) / MANIFEST
        with _permitted():
            content = read_json(path)
        known = Manifest.model_fields.keys()
        if isinstance(content, dict) and content.keys() > known:
            raise MadeByLaterVersion(
                f"{path} was written by a later version: this one does not know {sorted(content.keys() - known)}. It "
                "is left as it is; use that version, or another `execution.store`"
            )
        try:
            return Manifest.model_validate(content)
        except ValidationError as error:
            raise ArtifactMismatch(f"{path} is not a manifest this version reads: {error}") from error

    def manifest_digest(self, ref: ArtifactRef) -> str:
        """The sha256 of an artifact's manifest: it changes whenever the artifact is made again."""
        return sha256_of_file(self.folder(ref) / MANIFEST)

    def verify(self, ref: ArtifactRef) -> Manifest:
        """The manifest of an artifact whose every file was found and re-hashed, and whose inputs are unchanged.

        Raises:
            ArtifactMismatch: names the first file or input that does not agree.
            MadeByLaterVersion, StoreUnavailable: as of `manifest`, the latter for any of its files.
        """
        manifest = self.manifest(ref)
        folder = self.folder(ref)
        with _permitted():
            for record in manifest.files:
                _verify_file(folder, record)
        for name, recorded in manifest.inputs.items():
            if "manifest_sha256" in recorded:
                self._verify_input(ref, name, recorded)
        return manifest

    def _verify_input(self, ref: ArtifactRef, name: str, recorded: dict[str, str]) -> None:
        source = ArtifactRef(recorded["stage"], recorded["fingerprint"])
        path = self.folder(source) / MANIFEST
        if not path.is_file() or sha256_of_file(path) != recorded["manifest_sha256"]:
            raise ArtifactMismatch(
                f"{self.folder(ref)} was made from another making of its input '{name}' ({source.identity[:24]}…)"
            )

    @contextmanager
    def locked(self, ref: ArtifactRef) -> Iterator[None]:
        """Hold the artifact's lock; a second process waits here, and finds the result when it enters."""
        path = self.root / ref.stage / f"{ref.fingerprint}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise unavailable(error, path) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting: another process is making %s %s", ref.stage, ref.fingerprint[:12])
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def open_partial(self, ref: ArtifactRef, inputs: Mapping[str, Mapping[str, str]], *, keep: bool) -> Path:
        """The folder to write into, under the lock.

        `keep` leaves what a killed run wrote there, as long as that run read the very same `inputs`: shards made from
        an input that was since made again would mix two makings.
        """
        partial, record = self._partial(ref), self._partial_inputs(ref)
        same_inputs = record.is_file() and read_json(record) == inputs
        if partial.exists() and not (keep and same_inputs):
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        write_json(record, inputs)
        return partial

    def withdraw(self, ref: ArtifactRef) -> None:
        """Take a damaged or outdated artifact out of use; what it holds becomes the partial folder of the next try."""
        folder, partial = self.folder(ref), self._partial(ref)
        if not folder.exists():
            return
        shutil.rmtree(partial, ignore_errors=True)
        try:
            write_json(self._partial_inputs(ref), self.manifest(ref).inputs)
        except ArtifactMismatch:  # without its manifest nobody knows what it was made from
            self._partial_inputs(ref).unlink(missing_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        folder.replace(partial)

    def is_to_blame(self, error: OSError) -> bool:
        """Whether an operating-system error is about writing here (a failing network or source is not)."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        return isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(self.root)

    def discard(self, ref: ArtifactRef) -> None:
        """Remove an artifact, finished or partial, so that it is made from nothing."""
        with self.locked(ref):
            shutil.rmtree(self._partial(ref), ignore_errors=True)
            self._partial_inputs(ref).unlink(missing_ok=True)
            if self.folder(ref).exists():
                shutil.rmtree(self.folder(ref))

    def has_partial(self, ref: ArtifactRef) -> bool:
        """Whether a run is making the artifact, or was killed while it did."""
        return self._partial(ref).is_dir()

    def finish(self, ref: ArtifactRef, manifest: Manifest) -> None:
        """Write the manifest last and give the partial folder its final name."""
        partial = self._partial(ref)
        write_json(partial / MANIFEST, manifest.model_dump(mode="json"))
        partial.replace(self.folder(ref))
        self._partial_inputs(ref).unlink(missing_ok=True)
        sync_directory(self.root / ref.stage)

    def _partial(self, ref: ArtifactRef) -> Path:
        return self.root / ref.stage / f"{ref.fingerprint}.partial"

    def _partial_inputs(self, ref: ArtifactRef) -> Path:
        return self.root / ref.stage / f"{ref.fingerprint}.partial.json"


def file_records(folder: Path) -> list[FileRecord]:
    """A record of every file below `folder`, sorted by path; each gets the mode that the umask gives a new file.

    Raises:
        ArtifactMismatch: a symbolic link: what it points to could change without the artifact changing.
    """
    records = []
    mode = ordinary_mode()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtifactMismatch(f"{path} is a symbolic link; an artifact holds its own files only")
        if path.is_file():
            if path.stat().st_mode & 0o777 != mode:
                path.chmod(mode)  # some libraries write for the owner alone, through a temporary file
            with path.open("rb") as file:
                os.fsync(file.fileno())
            records.append(
                FileRecord(
                    path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=sha256_of_file(path)
                )
            )
    return records


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


def _verify_file(folder: Path, record: FileRecord) -> None:
    parts = PurePosixPath(record.path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ArtifactMismatch(f"{folder / MANIFEST} lists {record.path!r}, which lies outside the artifact")
    path = folder / record.path
    if path.is_symlink() or not path.is_file():
        raise ArtifactMismatch(f"{path} is missing")
    size = path.stat().st_size
    if size != record.size:
        raise ArtifactMismatch(f"{path} has {size} bytes, its manifest says {record.size}")
    found = sha256_of_file(path)
    if found != record.sha256:
        raise ArtifactMismatch(f"{path} is damaged: sha256 {found[:12]}…, its manifest says {record.sha256[:12]}…")
