"""The server as a process: what it answers under load, what it counts, where it listens and what it asks for."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import psutil
import pytest

from tests.serving.served import ROOT, vllm_python

pytestmark = pytest.mark.slow

OPEN_PATHS = {"/health"}


@dataclass(frozen=True)
class Running:
    """A server, and what its clients ask."""

    server: Any
    directory: Path
    conversations: Any
    load: ModuleType
    served_process: ModuleType


def started(folder: Path, *options: str) -> Iterator[Running]:
    """A server of the load test's model, with the module that loads it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        names = ("serving_questions", "serving_load", "served_process")
        questions, load, process = (import_module(name) for name in names)
        checkpoint, directory = questions.export_tiny_model(folder)
        conversations = questions.prepare_conversations(checkpoint, 36)
        assert questions.share_changed(checkpoint, conversations) > 0.5
        with process.serving(vllm_python(), directory, folder / "log", [*load.ENGINE, *options]) as server:
            yield Running(server, directory, conversations, load, process)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from started(tmp_path_factory.mktemp("server"))


def asked(running: Running, path: str, key: str | None) -> int:
    """The status with which a path is answered."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.get(running.server.address + path, headers=headers, timeout=60).status_code


def test_under_load_every_answer_is_the_references_and_every_prompt_is_counted(running: Running) -> None:
    figures = running.load.load(
        running.server, str(running.directory), running.conversations, clients=8, seconds=20, connected=True
    )
    assert figures["first_problems"] == []
    assert figures["answers_compared"] > 8
    assert figures["metrics"]["right"]
    assert sum(counts["counted"] for counts in figures["metrics"]["by_mode"].values()) > 8
    assert figures["connection_seconds"] > 0
    assert figures["prefix_cache_hits"] > 0  # later turns find the earlier ones
    assert figures["cache_in_use_afterwards"] == 0


def test_a_key_is_asked_for_on_every_path_that_the_server_has_but_health(running: Running) -> None:
    key = running.served_process.KEY
    headers = {"Authorization": f"Bearer {key}"}
    paths = set(httpx.get(f"{running.server.address}/openapi.json", headers=headers, timeout=60).json()["paths"])
    assert {"/tokenize", "/v1/chat/completions", "/invocations"} <= paths
    for path in sorted(paths | {"/metrics", "/docs", "/openapi.json"}):
        assert (path in OPEN_PATHS) == (asked(running, path, None) != 401), path
    assert asked(running, "/health", None) == 200
    assert asked(running, "/metrics", "another") == 401
    assert asked(running, "/metrics", key) == 200


def test_the_server_listens_on_the_loopback_address_alone(running: Running) -> None:
    port = int(running.server.address.rpartition(":")[2])
    listening = [one.laddr for one in running.server.process.net_connections() if one.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening if address.port == port} == {"127.0.0.1"}


def test_several_front_ends_of_one_engine_all_tell_what_all_of_them_were_asked(tmp_path: Path) -> None:
    for running in started(tmp_path, "--api-server-count", "2"):
        figures = running.load.load(
            running.server, str(running.directory), running.conversations, 4, seconds=10, connected=True
        )
        assert figures["first_problems"] == []
        assert figures["metrics"]["right"]
        assert sum(counts["counted"] for counts in figures["metrics"]["by_mode"].values()) > 4


def test_an_address_for_others_is_refused_without_a_key_before_anything_is_loaded(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "serving"), "HOME": str(tmp_path)}
    command = [vllm_python(), "-m", "cc_tuning_vllm", "serve", str(tmp_path), "--host", "0.0.0.0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "set the variable VLLM_API_KEY" in ended.stderr
