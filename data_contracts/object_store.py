"""A place behind a URL, by fsspec: the few things that a mirror does there, and in words what can go wrong.

Whatever a provider's library raises becomes `MirrorUnavailable`, so that a caller has two cases: it was done, or the
place could not be used. Credentials are looked up by that library, in the environment and files that it documents.

An object appears whole or not at all. A PUT of an object store is like that by itself; elsewhere (a folder, SFTP) the
object is written under a temporary name, which it loses when it is whole.
"""

import errno
import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from data_contracts.errors import ArtifactMismatch, DataContractError, MirrorUnavailable

_PUTS_WHOLE_OBJECTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss"}
_CHUNK_BYTES = 8 << 20
_OF_THE_LOCAL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_LONGEST_REASON = 300


def check_mirror_url(url: str) -> None:
    """Refuse what is no URL of a place, or holds a secret; the message never repeats it.

    Raises:
        MirrorUnavailable: it has no scheme, a password or token, or is a chain of several.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise MirrorUnavailable("a mirror is a URL, such as s3://bucket/prefix or file:///folder; write one")
    if re.match(r"[^/@]*:[^/@]*@", rest) or set("?#") & set(rest):
        raise MirrorUnavailable(
            f"a mirror's URL holds no password and no query, this one ({scheme}://…) does; leave secrets to the "
            "provider's environment (such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
    if "::" in rest:
        raise MirrorUnavailable(f"a mirror is one URL, got several joined by '::' ({scheme}://…)")


class ObjectStore:
    """The objects below a URL, by names that are relative to it.

    Raises:
        MirrorUnavailable: as of `check_mirror_url`; nobody knows the scheme; or its package is not installed.
    """

    def __init__(self, url: str) -> None:
        check_mirror_url(url)
        self.url = url.rstrip("/")
        scheme = url.partition("://")[0]
        self._puts_whole = scheme in _PUTS_WHOLE_OBJECTS
        from fsspec.core import url_to_fs  # 70 ms, which a command without a mirror does not wait for

        try:
            self._files, self._root = url_to_fs(self.url)
        except ImportError as error:
            raise MirrorUnavailable(
                f"{self.url} needs a package that is not installed ({error}); install the extra `mirror`: "
                "pip install 'cc-tuning[mirror]'"
            ) from error
        except ValueError as error:
            raise MirrorUnavailable(f"{self.url} is no place that fsspec knows: {error}; check the address") from error

    def sizes(self, folder: str = "") -> dict[str, int]:
        """The objects below `folder` and their bytes; of a folder that is not there none. Names are relative to it."""
        below = self._path(folder)
        with self._reached("list"):
            self._files.invalidate_cache()
            try:
                found: dict[str, dict[str, Any]] = self._files.find(below, detail=True)
            except FileNotFoundError:
                return {}
        names = {name.removeprefix(below).lstrip("/"): about for name, about in found.items()}
        return {name: about["size"] for name, about in sorted(names.items()) if about["type"] == "file"}

    def read(self, name: str, most_bytes: int) -> bytes | None:
        """What an object holds; None where there is none.

        Raises:
            ArtifactMismatch: it is a folder, or larger than `most_bytes`.
        """
        with self._reached("read"):
            self._files.invalidate_cache()
            try:
                about = self._files.info(self._path(name))
                if about["type"] != "file":
                    raise ArtifactMismatch(f"{self.url}/{name} is a {about['type']}, expected a file; remove it")
                if about["size"] > most_bytes:
                    raise ArtifactMismatch(
                        f"{self.url}/{name} has {about['size']} bytes, expected at most {most_bytes}"
                    )
                content: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return content

    def sha256(self, name: str) -> str:
        """The sha256 of an object's bytes, 64 hex digits, read in pieces.

        Raises:
            ArtifactMismatch: there is no such object.
        """
        digest = hashlib.sha256()
        with self._reached("read", missing=name), self._files.open(self._path(name), "rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def get(self, name: str, target: Path) -> None:
        """Copy an object to the local path `target`, whose folder is there.

        Raises:
            ArtifactMismatch: there is no such object.
            OSError: the local disk is full or cannot be written.
        """
        with self._reached("read", missing=name, local=target):
            self._files.get_file(self._path(name), str(target))

    def put(self, source: Path, name: str) -> None:
        """Copy the local file `source` to an object, which is there with all its bytes or not at all."""
        path = self._path(name)
        with self._reached("write"):
            if self._puts_whole:
                self._files.put_file(str(source), path)
                return
            parent = str(PurePosixPath(path).parent)
            temporary = f"{parent}/.{uuid.uuid4().hex}.tmp"
            self._files.makedirs(parent, exist_ok=True)
            self._files.put_file(str(source), temporary)
            self._files.mv(temporary, path)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)

    @contextmanager
    def _reached(self, what: str, missing: str = "", local: Path | None = None) -> Iterator[None]:
        """A context whose errors are those of this class; `local` is a path whose own errors travel as they are."""
        try:
            yield
        except DataContractError:
            raise
        except Exception as error:  # each provider's library has a family of its own
            if isinstance(error, OSError) and local is not None and _is_local(error, local):
                raise
            if isinstance(error, FileNotFoundError) and missing:
                raise ArtifactMismatch(f"{self.url}/{missing} is missing") from error
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
            raise MirrorUnavailable(
                f"cannot {what} {self.url} ({reason}); check the address, the network and the provider's credentials, "
                "or go on without: --set execution.mirror="
            ) from error


def _is_local(error: OSError, path: Path) -> bool:
    return error.errno in _OF_THE_LOCAL_DISK or error.filename == str(path)
