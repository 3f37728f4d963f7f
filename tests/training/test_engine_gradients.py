"""One step's gradients do not depend on the engine: plain, recomputed, compiled, DDP, FSDP2, ZeRO-3; also with LoRA."""

from importlib.util import find_spec

import pytest
from safetensors.torch import load_file
from torch import Tensor

from cc_tuning.training.job import TrainingJob
from tests.training.gradients import GRADIENTS, gradients_of
from tests.training.jobs import MakeJob, connected_with, needs_deepspeed, needs_peft
from tests.training.launching import run_on_ranks

TOLERANCE = 1e-5
STEP = {"global_batch_size": 12, "max_grad_norm": 1e9, "epochs": 1, "learning_rate": 1e-6}
LORA = {"lora": {"rank": 4, "alpha": 8}}
METHODS = {
    "sft": ("sft", {}),
    "cc": ("cc", {}),
    "cc of attention": ("cc-attention", {}),
    "cc with lora": ("cc", LORA),
    "cc through english": ("cc", {}),
}
METHOD_PARAMETERS = [pytest.param(name, marks=needs_peft if "lora" in name else ()) for name in METHODS]


def relative_difference(got: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest over all parameters, of the largest difference to the largest gradient of that parameter."""
    assert got.keys() == expected.keys() and expected
    return max(
        float((got[name] - gradient).abs().max() / gradient.abs().max().clamp_min(1e-12))
        for name, gradient in expected.items()
    )


def shown(method: str, engine: str, got: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """`relative_difference`, also printed."""
    difference = relative_difference(got, expected)
    print(f"{method}, {engine}: {difference:.1e}")
    return difference


def job_of(make_job: MakeJob, method: str, name: str, **execution: object) -> TrainingJob:
    """A job whose first step has 12 rows of different lengths in several micro-batches."""
    kind, training = METHODS[method]
    label = f"{method} {name}".replace(" ", "-")
    job = make_job(label, kind, {"device_batch_size": 3, **execution}, **STEP, **training)
    return connected_with(job, english_gradient=True) if "english" in method else job


def on_ranks(jobs: list[TrainingJob], ranks: int = 2) -> list[dict[str, Tensor]]:
    """The gradients of each job, one after the other in the same processes."""
    run_on_ranks("tests.training.gradients", jobs, ranks)
    return [load_file(job.folder / GRADIENTS) for job in jobs]


@pytest.mark.parametrize("method", METHOD_PARAMETERS)
def test_recomputed_layers_give_the_same_gradients(make_job: MakeJob, method: str) -> None:
    expected = gradients_of(job_of(make_job, method, "plain"))
    assert any("decision_maker" in name for name in expected) is (method != "sft")
    recomputed = gradients_of(job_of(make_job, method, "recomputed", gradient_checkpointing=True))
    assert shown(method, "recomputed", recomputed, expected) <= TOLERANCE


@pytest.mark.parametrize(
    ("method", "backend"),
    [
        ("cc", "aot_eager"),
        pytest.param("sft", "inductor", marks=pytest.mark.slow),
        pytest.param("cc", "inductor", marks=pytest.mark.slow),
        pytest.param("cc with lora", "inductor", marks=[pytest.mark.slow, needs_peft]),
        pytest.param("cc through english", "inductor", marks=pytest.mark.slow),
    ],
)
def test_compiled_blocks_give_the_same_gradients(make_job: MakeJob, method: str, backend: str) -> None:
    expected = gradients_of(job_of(make_job, method, "plain"))
    for recomputes in (True, False):
        job = job_of(make_job, method, f"compiled {recomputes}", compile=True, gradient_checkpointing=recomputes)
        assert shown(method, f"{backend} {recomputes}", gradients_of(job, backend), expected) <= TOLERANCE


def test_ddp_and_fsdp2_give_the_gradients_of_one_process(make_job: MakeJob) -> None:
    methods = [name for name in METHODS if "lora" not in name or find_spec("peft")]
    two: dict[str, object] = {"processes": 2}
    engines = {
        "ddp": two,
        "fsdp2": {**two, "sharding": "fsdp2"},
        "fsdp2 recomputed": {**two, "sharding": "fsdp2", "gradient_checkpointing": True},
    }
    names = [(engine, method) for engine in engines for method in methods]
    gradients = on_ranks([job_of(make_job, method, engine, **engines[engine]) for engine, method in names])
    expected = {method: gradients_of(job_of(make_job, method, "plain")) for method in methods}
    for (engine, method), got in zip(names, gradients, strict=True):
        assert shown(method, engine, got, expected[method]) <= TOLERANCE


def test_fsdp2_on_one_device_gives_the_gradients_of_one_process(make_job: MakeJob) -> None:
    (got,) = on_ranks([job_of(make_job, "cc", "alone", sharding="fsdp2")], ranks=1)
    assert shown("cc", "fsdp2 alone", got, gradients_of(job_of(make_job, "cc", "plain"))) <= TOLERANCE


@needs_deepspeed
@pytest.mark.slow  # on a CPU DeepSpeed compiles an operation for minutes, once
def test_zero3_gives_the_gradients_of_one_process(make_job: MakeJob) -> None:
    two = {"processes": 2, "sharding": "zero3"}
    jobs = [
        job_of(make_job, method, f"zero3-{recomputes}", **two, gradient_checkpointing=recomputes)
        for method in METHODS
        for recomputes in (False, True)
    ]
    for index, got in enumerate(on_ranks(jobs)):
        method = list(METHODS)[index // 2]
        expected = gradients_of(job_of(make_job, method, f"plain {index}"))
        assert shown(method, f"zero3 {index % 2}", got, expected) <= TOLERANCE
