"""One step's gradients do not depend on the engine: plain, recomputed, compiled, DDP, FSDP2, ZeRO-3; also with LoRA."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cc_tuning.training.job import TrainingJob
from tests.training.gradients import GRADIENTS, gradients_of

MakeJob = Callable[..., TrainingJob]

ROOT = Path(__file__).parents[2]
STEP = {"global_batch_size": 12, "max_grad_norm": 1e9, "epochs": 1, "learning_rate": 1e-6}
METHODS = {"sft": ("sft", {}), "cc": ("cc", {}), "cc with lora": ("cc", {"lora": {"rank": 4, "alpha": 8}})}
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="needs the extra lora")
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra deepspeed")
METHOD_PARAMETERS = [pytest.param(name, marks=needs_peft if "lora" in name else ()) for name in METHODS]


def relative_difference(got: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest over all parameters, of the largest difference to the largest gradient of that parameter."""
    assert got.keys() == expected.keys() and expected
    return max(
        float((got[name] - gradient).abs().max() / gradient.abs().max().clamp_min(1e-12))
        for name, gradient in expected.items()
    )


def job_of(make_job: MakeJob, method: str, name: str, **execution: object) -> TrainingJob:
    """A job whose first step has 12 rows of different lengths in several micro-batches."""
    kind, training = METHODS[method]
    return make_job(f"{method} {name}".replace(" ", "-"), kind, {"device_batch_size": 3, **execution}, **STEP, **training)


def on_two_ranks(jobs: list[TrainingJob]) -> list[dict[str, Tensor]]:
    """The gradients of each job, one after the other in the same two processes."""
    files = []
    for job in jobs:
        files.append(job.folder / "job.json")
        files[-1].write_text(job.model_dump_json())
    command = [
        *(sys.executable, "-m", "cc_tuning.training.torchrun", "--nnodes", "1", "--nproc-per-node", "2"),
        *("--rdzv-backend", "loopback", "--rdzv-endpoint", "127.0.0.1:0", "--rdzv-id", "test"),
        *("-m", "tests.training.gradients", *map(str, files)),
    ]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=570)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return [load_file(job.folder / GRADIENTS) for job in jobs]


@pytest.mark.parametrize("method", METHOD_PARAMETERS)
def test_recomputed_and_compiled_blocks_give_the_same_gradients(make_job: MakeJob, method: str) -> None:
    expected = gradients_of(job_of(make_job, method, "plain"))
    assert any("decision_maker" in name for name in expected) is (method != "sft")
    recomputed = gradients_of(job_of(make_job, method, "recomputed", gradient_checkpointing=True))
    compiled = gradients_of(job_of(make_job, method, "compiled", compile=True), "aot_eager")
    both = gradients_of(
        job_of(make_job, method, "both", compile=True, gradient_checkpointing=True), "aot_eager"
    )
    for got in (recomputed, compiled, both):
        assert relative_difference(got, expected) <= 1e-5


def test_ddp_and_fsdp2_give_the_gradients_of_one_process(make_job: MakeJob) -> None:
    methods = [name for name in METHODS if "lora" not in name or find_spec("peft")]
    two = {"processes": 2, "gradient_checkpointing": False}
    engines = {"ddp": two, "fsdp2": {**two, "sharding": "fsdp2"}, "fsdp2-recomputed": {
        **two, "sharding": "fsdp2", "gradient_checkpointing": True}}
    names = [(engine, method) for engine in engines for method in methods]  # accelerate remembers FSDP: DDP goes first
    gradients = on_two_ranks([job_of(make_job, method, engine, **engines[engine]) for engine, method in names])
    expected = {method: gradients_of(job_of(make_job, method, "plain")) for method in methods}
    for (engine, method), got in zip(names, gradients, strict=True):
        difference = relative_difference(got, expected[method])
        print(f"{engine} {method}: {difference:.1e}")
        assert difference <= 1e-5, (engine, method)


@needs_deepspeed
@pytest.mark.slow  # on a CPU DeepSpeed compiles an operation for minutes, once
def test_zero3_gives_the_gradients_of_one_process(make_job: MakeJob) -> None:
    two = {"processes": 2, "sharding": "zero3"}
    jobs = [
        job_of(make_job, method, f"zero3-{recomputes}", **two, gradient_checkpointing=recomputes)
        for method in METHODS
        for recomputes in (False, True)
    ]
    for index, got in enumerate(on_two_ranks(jobs)):
        method = list(METHODS)[index // 2]
        difference = relative_difference(got, gradients_of(job_of(make_job, method, f"plain{index}")))
        print(f"zero3 {method}: {difference:.1e}")
        assert difference <= 1e-5, method
