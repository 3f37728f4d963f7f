"""Locks that die with their holder: flock(2) on a file beside what is guarded."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.artifact_files import remove_object
from data_contracts.files import kind_of_object

logger = logging.getLogger(__name__)


@contextmanager
def held_lock(path: Path, what: str) -> Iterator[None]:
    """A context that holds the lock at `path`; a second process waits here, and the log says for `what`.

    Raises:
        OSError: the file cannot be made or opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind_of_object(path, follow=False) not in ("file", "nothing"):
        logger.warning("%s is no lock file and is removed", path)
        remove_object(path)
    descriptor = _locked(path, fcntl.LOCK_EX, f"another process is making {what}")
    try:
        os.utime(descriptor)  # so that its time is that of the last use, of a finished artifact too
        yield
    finally:
        os.close(descriptor)


@contextmanager
def in_use(path: Path, what: str) -> Iterator[None]:
    """A context in which this process, and any number of others, say by the lock at `path` that they use `what`.

    Raises:
        OSError: the file cannot be made or opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path, fcntl.LOCK_SH, f"another process is removing {what}")
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def unless_in_use(path: Path) -> Iterator[bool]:
    """A context that says whether nobody is within `in_use`; where it says so, nobody is until it ends.

    Raises:
        OSError: the file cannot be made or opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        path.unlink(missing_ok=True)  # whoever waits for it finds that it is gone, and makes another
    finally:
        os.close(descriptor)


def _locked(path: Path, kind: int, why_it_waits: str) -> int:
    """The descriptor of the file at `path`, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting: %s", why_it_waits)
                fcntl.flock(descriptor, kind)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it removed it: a third process may hold another file of this name by now


def is_held(path: Path) -> bool:
    """Whether a process holds the lock at `path` at this moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
