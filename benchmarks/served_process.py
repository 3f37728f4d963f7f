"""A server of an exported model as a process of its own: started, watched and stopped."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 3600
KEY = "key-of-the-load-test"


class Memory(NamedTuple):
    """MiB of a server."""

    front_end: float
    engine: float
    """The engine's core with its workers."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    address: str
    process: psutil.Process

    def metrics(self) -> dict[str, float]:
        """Prometheus' samples, by name and, where it has one, mode; summed over other labels."""
        request = urllib.request.Request(f"{self.address}/metrics", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=60) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        samples: dict[str, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            name = " ".join([sample.name, *([sample.labels["mode"]] if "mode" in sample.labels else [])])
            samples[name] = samples.get(name, 0.0) + sample.value
        return samples

    def mebibytes(self) -> Memory:
        """Memory of the server's processes, what they share counted once."""
        front, *others = [
            one.memory_full_info().pss / 2**20 for one in (self.process, *self.process.children(recursive=True))
        ]
        return Memory(front, sum(others))

    def wait_until_idle(self, seconds: float = 120) -> None:
        """Return when no request is being answered.

        Raises:
            TimeoutError: one still is after that time.
        """
        deadline = time.monotonic() + seconds
        while any(self.metrics()[f"vllm:num_requests_{state}"] for state in ("running", "waiting")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server still works on a request {seconds:.0f} s after the last client left")
            time.sleep(0.5)


@contextmanager
def serving(
    python: str, directory: Path, log: Path, options: Sequence[str], *, with_plugin: bool = True
) -> Iterator[Server]:
    """A server of the exported directory, on a free port of the loopback address, with a key; without the plugin vLLM's
    own, of an ordinary model.

    Raises:
        RuntimeError: it does not start, or does not end when it is told to.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "serving"),  # the plugin of this checkout, whichever is installed
        "VLLM_API_KEY": KEY,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    start = ["-m", "cc_tuning_vllm", "serve", str(directory)]
    if not with_plugin:
        environment["VLLM_PLUGINS"] = ""
        start = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(directory), "--host", "127.0.0.1"]
    command = [python, *start, "--port", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield Server(f"http://127.0.0.1:{port}", psutil.Process(process.pid))
        finally:
            _stop(process)
    if process.returncode not in (0, -signal.SIGTERM):
        raise RuntimeError(f"the server ended with code {process.returncode}:\n{_end_of(log)}")


def _wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(1)
    ended = "did not start within" if process.poll() is None else f"ended with code {process.returncode} within"
    raise RuntimeError(f"the server {ended} {START_SECONDS} s:\n{_end_of(log)}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]


@contextmanager
def watched_memory(server: Server, every_seconds: float) -> Iterator[list[tuple[float, Memory]]]:
    """The server's memory while the code inside runs, and at how many seconds since the beginning."""
    begin, samples, ended = time.monotonic(), [(0.0, server.mebibytes())], Event()

    def watch() -> None:
        while not ended.wait(every_seconds):
            samples.append((time.monotonic() - begin, server.mebibytes()))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield samples
    finally:
        ended.set()
        watcher.join()
