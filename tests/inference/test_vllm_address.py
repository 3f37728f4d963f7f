"""The engine vllm behind an address: a real server of vLLM, killed and started again in the middle."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.inference.engines import ENGINES
from cc_tuning.inference.job_files import read_answers
from cc_tuning.inference.jobs import InferenceJob, LogLikelihood
from cc_tuning.inference.vllm.address import Patience, VllmAddresses
from cc_tuning.inference.vllm.process import command_of_vllm
from cc_tuning.inference.vllm.requests import VllmRequest
from cc_tuning.inference.vllm.served import name_of_model
from cc_tuning.runtime.threads import in_threads
from tests.inference.test_vllm_engine import (
    GREEDY,
    answered_by_transformers,
    assert_same_answers,
    assert_same_likelihoods,
    job_of,
    rows_of,
)
from tests.serving.served import Served, served_model, vllm_python

pytestmark = pytest.mark.slow

SERVER = "vllm.entrypoints.openai.api_server"
OPTIONS = ("--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager", "--max-model-len", "512")
STARTING_SECONDS = 900


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(served: Served, port: int, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of the exported model, known by `name`, that answers; it is ended in the end."""
    command = [*command_of_vllm(Path(vllm_python()), SERVER, 1), "--model", str(served.directory), *OPTIONS]
    with (served.directory.parent / f"server-{time.monotonic_ns()}.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--served-model-name", "a-model", name],
            stdout=log, stderr=log, env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(server, port)
            yield server
        finally:
            end(server)


def wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server ended with code {server.returncode}"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(1)
    pytest.fail(f"no server after {STARTING_SECONDS} seconds")


def end(server: subprocess.Popen[bytes]) -> None:
    """Kill the server and its engine, as a machine that goes down does."""
    if server.poll() is None:
        os.killpg(server.pid, 9)
        server.wait()


def at(job: InferenceJob, port: int) -> InferenceJob:
    """The same job, asked at an address."""
    execution = job.execution.model_copy(update={"vllm_url": (f"http://127.0.0.1:{port}/v1/",)})
    return job.model_copy(update={"execution": execution})


def test_a_server_that_is_killed_and_started_again_costs_no_answer_and_doubles_none(tmp_path: Path) -> None:
    vllm_python()
    served, port = served_model(tmp_path, "llama"), free_port()
    name = name_of_model(served.directory)
    modes = ("off", "transform", "parallel")
    asked = [
        *((f"greedy_{mode}", mode, GREEDY) for mode in modes),
        *((f"likely_{mode}", mode, LogLikelihood()) for mode in modes),
    ]
    job = at(job_of(served, tmp_path / "by_address", asked), port)
    counted: list[int] = []
    killed = threading.Event()
    with serving(served, port, name) as first, ThreadPoolExecutor(1) as asking:
        address = f"http://127.0.0.1:{port}/v1"
        with pytest.raises(ConfigError, match=rf"serves a-model, {name}; expected cc-tuning-0000"):
            VllmAddresses([address], "cc-tuning-0000", "NO_KEY", Patience())
        too_long = VllmRequest(prompt=(5,) * 600, max_tokens=1, extra_args={"connection": "off"})
        with pytest.raises(ConfigError, match=r"refuses with status 400.*512"):
            VllmAddresses([address], name, "NO_KEY", Patience()).ask([too_long])

        def kill_after_the_first(prompts: int) -> None:
            counted.append(prompts)
            if len(counted) == 1:
                end(first)
                killed.set()

        answering = asking.submit(ENGINES["vllm"].load().answer, job, kill_after_the_first, in_threads)
        while not killed.wait(1) and not answering.done():
            pass
        assert not answering.done()
        with serving(served, port, name):
            answering.result()
    assert sum(counted) == sum(shard.prompts for shard in job.shards)
    expected = list(answered_by_transformers(job_of(served, tmp_path / "by_transformers", asked)))
    ids = rows_of(served, "off")["item_id"].to_list()
    for shard, of_transformers in zip(job.shards, expected, strict=True):
        got = read_answers(job, shard, ids)
        if shard.request.kind == "generate":
            assert_same_answers(got, of_transformers)
        else:
            assert_same_likelihoods(got, of_transformers)
