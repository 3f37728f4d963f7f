"""Looking at what another process is doing: its files appear, are renamed and go while they are listed."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 300.0
"""For what takes a second: a limit is there to end a test that hangs, not to measure a busy machine."""


def wait_until(holds: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when `holds()` is true; fail when `process` ends before, or after `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert process is None or process.poll() is None, "the process ended before what it was watched for"
        assert time.monotonic() < deadline, f"gave up after {SECONDS:.0f} s"
        time.sleep(0.01)


def modified(folder: Path, pattern: str) -> dict[str, int]:
    """When each file under `folder` that matches was last modified, in nanoseconds, by its path in `folder`."""
    while True:
        try:
            return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.glob(pattern)}
        except FileNotFoundError:  # a folder or a file was renamed while it was listed
            continue
