"""Shards and requests are shared out over several vLLMs, one per GPU or one per address, and the answers stay the same.

No machine with several GPUs was at hand: what each worker is told to see is tested here, and two workers on a CPU. The
addresses are servers of this test, which say which of them was asked; `test_vllm_address` asks vLLM itself.
"""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from cc_tuning.inference.engines import ENGINES
from cc_tuning.inference.jobs import LogLikelihood
from cc_tuning.inference.vllm.address import Patience, VllmAddresses
from cc_tuning.inference.vllm.process import command_of_vllm
from cc_tuning.inference.vllm.requests import VllmRequest
from cc_tuning.runtime.threads import in_threads
from tests.inference.test_vllm_engine import GREEDY, job_of, read_all
from tests.serving.served import served_model, vllm_python

SAYS = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"


def test_vllm_sees_the_gpu_that_its_worker_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    *begin, _, _ = command_of_vllm(Path(sys.executable), "module", 1)
    for devices in ("0", "3", "GPU-5e2f"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        said = subprocess.run([*begin, "-c", SAYS], capture_output=True, text=True, check=True).stdout
        assert said.strip() == devices


def is_vllm_worker(process: psutil.Process) -> bool:
    """Whether it is one that still runs; of one that has just ended nothing can be asked."""
    try:
        return "cc_tuning_vllm.worker" in process.cmdline()[:4]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


@pytest.mark.slow
def test_two_workers_with_a_vllm_each_answer_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm_python()
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    served = served_model(tmp_path, "llama")
    modes = ("off", "transform", "parallel")
    asked: list[Any] = [*((f"greedy_{mode}", mode, GREEDY) for mode in modes)]
    asked += [(f"likely_{mode}", mode, LogLikelihood()) for mode in modes]
    answers, most = [], []
    for workers in (1, 2):
        job = job_of(served, tmp_path / f"by_{workers}", asked)
        job = job.model_copy(update={"execution": job.execution.model_copy(update={"inference_workers": workers})})
        at_once: list[int] = []

        def count(_: int, at_once: list[int] = at_once) -> None:
            at_once.append(sum(map(is_vllm_worker, psutil.Process().children(recursive=True))))

        ENGINES["vllm"].load().answer(job, count, in_threads)
        answers.append(list(read_all(job)))
        most.append(max(at_once))
    assert most == [1, 2]
    for (name, *_), one, two in zip(asked, *answers, strict=True):
        if name.startswith("greedy"):
            assert one.equals(two), name
        else:
            assert one["are_greedy"].to_list() == two["are_greedy"].to_list()
            for some, others in zip(one["log_likelihoods"], two["log_likelihoods"], strict=True):
                assert some.to_list() == pytest.approx(others.to_list(), abs=1e-4)


@dataclass
class Address:
    """A server that answers with the sum of a prompt, and how often it was asked for one."""

    url: str
    stop: Any
    asked: Counter[int] = field(default_factory=Counter)


@contextmanager
def answering(model: str) -> Iterator[Address]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say({"data": [{"id": model}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            address.asked[sum(asked["prompt"])] += 1
            self._say({"choices": [{"token_ids": [sum(asked["prompt"])]}]})

        def _say(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    address = Address(f"http://127.0.0.1:{server.server_port}/v1", stop)
    thread.start()
    try:
        yield address
    finally:
        stop()
        thread.join()


def requests() -> list[VllmRequest]:
    return [VllmRequest(prompt=(place, 1000), max_tokens=1) for place in range(60)]


def test_requests_are_shared_out_over_the_addresses_and_each_is_asked_once() -> None:
    with answering("m") as one, answering("m") as two, answering("m") as three:
        asker = VllmAddresses([one.url, two.url, three.url], "m", "NO_KEY", Patience())
        answers = asker.ask(requests())
    assert [answer.token_ids for answer in answers] == [(1000 + place,) for place in range(60)]
    asked = [address.asked for address in (one, two, three)]
    assert [sum(counts.values()) for counts in asked] == [20, 20, 20]
    assert set(sum(asked, Counter[int]()).values()) == {1}


def test_what_an_address_does_not_answer_is_asked_at_the_others() -> None:
    with answering("m") as one, answering("m") as two:
        asker = VllmAddresses([one.url, two.url], "m", "NO_KEY", Patience(first_wait_seconds=0.01))
        two.stop()
        answers = asker.ask(requests())
    assert [answer.token_ids for answer in answers] == [(1000 + place,) for place in range(60)]
    assert sum(one.asked.values()) == 60
