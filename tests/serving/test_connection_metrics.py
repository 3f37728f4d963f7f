"""What workers count is what the front end tells, whichever process each of them is."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cc_tuning_vllm.metrics import OWN_FOLDER, VLLM_FOLDER, Meter, collect_from_workers
from cc_tuning_vllm.stopwatch import Stopwatch
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tests.serving.served import ask_vllm, assert_same, requests_of, served_model, transformers_answers, vllm_python

WORKER = """
from cc_tuning_vllm.metrics import Meter
meter = Meter.of_process("a", counts=True)
meter.count_prompts(["transform", "off", "transform"])
"""


def told(folder: Path, name: str, **labels: str) -> float | None:
    """A sample of the files in a folder, summed over processes."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return registry.get_sample_value(name, labels)


def test_prompts_are_counted_by_mode_and_modes_that_never_came_are_zero(tmp_path: Path) -> None:
    meter = Meter("a", tmp_path)
    meter.count_prompts(["transform", "parallel", "transform"])
    meter.count_prompts([])
    counts = {
        mode: told(tmp_path, "cc_tuning:prompts_total", mode=mode, model_name="a") for mode in ("transform", "off")
    }
    assert counts == {"transform": 2, "off": 0}


def test_the_seconds_inside_are_added_up(tmp_path: Path) -> None:
    meter = Meter("a", tmp_path)
    begin = time.perf_counter()
    for _ in range(3):
        with meter.timed(torch.device("cpu")):
            time.sleep(0.01)
    seconds = told(tmp_path, "cc_tuning:connection_seconds_total", model_name="a")
    assert seconds is not None
    assert 0.03 <= seconds <= time.perf_counter() - begin


def test_a_worker_that_shall_not_count_or_has_no_front_end_here_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VLLM_FOLDER, raising=False)
    monkeypatch.delenv(OWN_FOLDER, raising=False)
    Meter.of_process("a", counts=True).count_prompts(["off"])
    monkeypatch.setenv(OWN_FOLDER, str(tmp_path))
    Meter.of_process("a", counts=False).count_prompts(["off"])
    assert not list(tmp_path.iterdir())


def test_two_worker_processes_are_told_as_their_sum_by_the_process_that_started_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VLLM_FOLDER, raising=False)
    monkeypatch.setenv(OWN_FOLDER, "")
    collect_from_workers()
    collect_from_workers()  # once is enough
    for _ in range(2):
        subprocess.run([sys.executable, "-c", WORKER], check=True, cwd=Path(__file__).parents[2] / "serving")
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    found = [one for one in samples if one.name == "cc_tuning:prompts_total" and one.labels["mode"] == "transform"]
    assert [one.value for one in found] == [4]


@pytest.mark.gpu
def test_a_gpu_is_measured_by_its_own_work_not_by_the_time_of_giving_it() -> None:
    device = torch.device("cuda")
    stopwatch, matrix = Stopwatch(), torch.randn(8192, 8192, device=device)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    with stopwatch.running(device):
        for _ in range(20):
            matrix @ matrix
    given = time.perf_counter() - begin
    torch.cuda.synchronize()
    whole = time.perf_counter() - begin
    assert given < stopwatch.taken() <= whole
    assert stopwatch.taken() == 0


@pytest.mark.slow
def test_preempted_requests_are_counted_once_in_an_engine_of_another_process(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    requests = requests_of(served.prompts)
    for request in requests[::4]:
        request["extra_args"] = {"connection": "off"}
    told = ask_vllm(
        served, tmp_path, [requests], variables={"VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
        num_gpu_blocks_override=14, max_model_len=256,
    )  # fmt: skip
    assert told.counted["vllm:num_preemptions"] > 0
    prompts = {mode: told.counted[f"cc_tuning:prompts_total {mode}"] for mode in ("transform", "off", "identity")}
    assert prompts == {"transform": 48, "off": 16, "identity": 0}
    assert told.counted["cc_tuning:connection_seconds_total"] > 0
    assert_same(told.rounds[0][1:4], transformers_answers(served, served.prompts[1:4]))


@pytest.mark.slow
def test_of_two_tensor_parallel_workers_one_counts(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    told = ask_vllm(
        served, tmp_path, [requests_of(served.prompts[:8])],
        variables={"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, tensor_parallel_size=2,
    )  # fmt: skip
    assert told.counted["cc_tuning:prompts_total transform"] == 8
