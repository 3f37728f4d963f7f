"""What the tests of deployments share: a server on loopback, workers, commands, and a local receiver of webhooks."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Server:
    """A running Prefect server, and the variables of a shell that talks to it."""

    variables: dict[str, str]

    @property
    def api(self) -> str:
        return self.variables["PREFECT_API_URL"]

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask(lambda: httpx.post(f"{self.api}/{path}", json=body or {}, timeout=30))

    def get(self, path: str) -> Any:
        return self._ask(lambda: httpx.get(f"{self.api}/{path}", timeout=30))

    def _ask(self, send: Callable[[], httpx.Response]) -> Any:
        """The answer's content; of a server whose database is locked, which says 503, after a few tries more."""
        for _ in range(20):
            answer = send()
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json()

    def command(self, *arguments: str, seconds: float = 1200) -> str:
        """What a program of this environment prints; it ends with 0."""
        program, *rest = arguments
        done = subprocess.run(
            [str(PROGRAMS / program), *rest],
            env=self.variables, cwd=ROOT, capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def python(self, code: str, seconds: float = 600) -> str:
        """What `code` prints in an interpreter that talks to this server."""
        return self.command("python", "-c", code, seconds=seconds)

    def start_run(self, deployment: str, **parameters: Any) -> str:
        """The id of a new run of `FLOW/DEPLOYMENT`."""
        flow, _, name = deployment.partition("/")
        found = self.get(f"deployments/name/{flow}/{name}")
        return str(self.post(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"])

    def state(self, run: str) -> str:
        return str(self.get(f"flow_runs/{run}")["state"]["name"])

    def has_ended(self, run: str) -> bool:
        return self.state(run) in ("Completed", "Failed", "Crashed", "Cancelled")


@contextmanager
def running_server(home: Path, port: int = 0, **settings: str) -> Iterator[Server]:
    """A server with its log and, unless `settings` say otherwise, its database in `home`; `port` 0 is any free one."""
    port = port or free_port()
    server = Server(
        {
            **os.environ, **settings, "PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT),
        }
    )  # fmt: skip
    command = [str(PROGRAMS / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=server.variables, stdout=log, stderr=log, start_new_session=True, cwd=ROOT
        )
    try:
        wait_until(lambda: httpx.get(f"{server.api}/health", timeout=60).status_code == 200, 1200)
        yield server
    finally:
        end(process)


@contextmanager
def running_worker(server: Server, log: Path, limit: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the pool `cc-tuning` that takes `limit` runs at once and leads a process group of its own."""
    command = [str(PROGRAMS / "prefect"), "worker", "start", "--pool", "cc-tuning", "--limit", str(limit)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=server.variables, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def kill_all(process_id: int) -> None:
    """SIGKILL a worker and every process below it at once, as a machine that goes away does."""
    leader = psutil.Process(process_id)
    family = [leader, *leader.children(recursive=True)]
    for each in family:
        each.suspend()
    for each in family:
        os.kill(each.pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; a worker of a run that failed may not, and must not outlive the test."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(is_so: Callable[[], bool], seconds: float) -> float:
    """How long it took until something was so."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        try:
            if is_so():
                return time.monotonic() - began
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"not so after {seconds} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Receiver:
    """A local address that webhooks are sent to, and what came."""

    address: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    def about(self, words: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if words in message["text"]]


@contextmanager
def webhook_receiver() -> Iterator[Receiver]:
    """A server on loopback that keeps every JSON body it is sent."""
    found: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield Receiver(f"http://127.0.0.1:{listening.server_port}/hook", found)
        listening.shutdown()
