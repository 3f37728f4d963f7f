"""A page opened in headless Chromium, where there is one."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")

_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0", "--dump-dom",
]  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """What the browser made of the page."""

    document: str
    said: str
    """Its log; a message on the page's console has CONSOLE in its line."""
    network: str
    """Every address it asked for, among much else."""


def opened(page: Path, folder: Path) -> Opened:
    """Open `page` with a new profile in `folder`."""
    log = folder / "net.json"
    places = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run(
        ["chromium", *_FLAGS, *places, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return Opened(done.stdout, done.stderr, log.read_text(encoding="utf-8", errors="replace"))
