"""A page opened in headless Chromium, where there is one: its log, or the page itself to click and look at."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")

_QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0",
]  # fmt: skip
_DEADLINE = 120
"""Seconds for one answer of the browser."""


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
    places = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *_QUIET, *places, page.as_uri()], capture_output=True, text=True, timeout=_DEADLINE, check=True
    )
    return Opened(done.stdout, done.stderr, log.read_text(encoding="utf-8", errors="replace"))


class Tab:
    """One tab of a running browser, spoken to by its DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0
        self.said: list[str] = []
        """Errors and messages of the pages that were opened."""

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of one method of the protocol."""
        self._sent += 1
        self._connection.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            answer = self._read()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]

    def show(self, page: Path, width: int, scheme: str = "light", height: int = 800) -> None:
        """Open `page` in a window of this width, in a light or dark colour scheme, and wait until it is loaded."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives on the page; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press and release a key, as in `press("Enter", 13)`."""
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def picture(self, path: Path, is_whole: bool = False) -> None:
        """Save what the window, or the whole page, shows as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=_DEADLINE))
        if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.said.append(json.dumps(message["params"]))
        return message


@contextmanager
def tab(folder: Path) -> Iterator[Tab]:
    """A tab of a browser that runs for the block, with a new profile in `folder`."""
    command = ["chromium", *_QUIET, "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as browser:
        try:
            assert browser.stderr is not None
            marker = "DevTools listening on "
            browser_url = next(line.strip().removeprefix(marker) for line in browser.stderr if line.startswith(marker))
            with connect(browser_url, max_size=None) as control:
                made = Tab(control).call("Target.createTarget", url="about:blank")
            page_url = f"{browser_url.partition('/devtools')[0]}/devtools/page/{made['targetId']}"
            with connect(page_url, max_size=None) as connection:
                yield Tab(connection)
        finally:
            browser.terminate()
            browser.stderr.close()  # type: ignore[union-attr]
