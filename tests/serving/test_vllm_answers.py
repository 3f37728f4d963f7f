"""vLLM answers as the transformers engine does, whatever its scheduler makes of the prompts.

The models are random and small, in float32; every test says how many of the answers the connection changes, since
without a change the comparison would say nothing.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from cc_tuning.model import ConnectionConfig
from cc_tuning.model.transform_matrix import TransformMatrix
from tests.serving.served import (
    HIDDEN,
    LAYERS,
    Answer,
    ask_vllm,
    assert_same,
    requests_of,
    served_model,
    transformers_answers,
    vllm_python,
)

pytestmark = pytest.mark.slow

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "before the norm, scaled": ("gemma3_text", {"site": "block_output", "scale": 0.7}),
    "attention behind its norm": ("gemma3_text", {"source": "attention", "selector": "mean"}),
    "whole layers, standardised": ("qwen2", {"source": "block", "normalise": "standardised", "scale": 0.5}),
    "a random layer, one token earlier": ("llama", {"selector": "random", "seed": 3, "offset": 1}),
}


def changed(some: list[Answer], others: list[Answer]) -> int:
    """How many answers differ in a token."""
    return sum(one.token_ids != other.token_ids for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma3_text"])
def test_a_family_answers_64_prompts_as_the_reference_does(tmp_path: Path, family: str) -> None:
    vllm_python()
    served = served_model(tmp_path, family)
    rounds = [requests_of(served.prompts), requests_of(served.prompts, connection="off")]
    connected, off = ask_vllm(served, tmp_path, rounds).rounds
    assert_same(connected, transformers_answers(served, served.prompts))
    assert_same(off, transformers_answers(served, served.prompts, "off"))
    assert changed(connected, off) > 32


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_of_the_connection_answers_as_the_reference_does(tmp_path: Path, variant: str) -> None:
    vllm_python()
    family, settings = VARIANTS[variant]
    served = served_model(tmp_path, family, ConnectionConfig(**settings))
    prompts = served.prompts[:24]
    connected, off = ask_vllm(served, tmp_path, [requests_of(prompts), requests_of(prompts, connection="off")]).rounds
    assert_same(connected, transformers_answers(served, prompts))
    assert changed(connected, off) > 6


def test_a_map_for_each_layer_with_its_intercept_answers_as_the_reference_does(tmp_path: Path) -> None:
    vllm_python()
    generator = torch.Generator().manual_seed(2)
    matrices = torch.randn(LAYERS, HIDDEN, HIDDEN, generator=generator) / HIDDEN**0.5
    transform = TransformMatrix(matrices, torch.randn(LAYERS, HIDDEN, generator=generator))
    served = served_model(tmp_path, "qwen2", transform=transform)
    (connected,) = ask_vllm(served, tmp_path, [requests_of(served.prompts[:24])]).rounds
    assert_same(connected, transformers_answers(served, served.prompts[:24]))


@pytest.mark.parametrize("family", ["qwen2", "gemma3_text"])
def test_english_prompts_take_the_place_of_the_map_as_in_the_reference(tmp_path: Path, family: str) -> None:
    vllm_python()
    served = served_model(tmp_path, family, ConnectionConfig(offset=1))
    prompts, english = served.prompts[:24], served.prompts[24:48]
    parallel = [requests_of([one], english=other)[0] for one, other in zip(prompts, english, strict=True)]
    mixed = [parallel[place] if place % 2 else requests_of([prompt])[0] for place, prompt in enumerate(prompts)]
    swapped = [requests_of([prompts[0]], english=other)[0] for other in english[:3]]
    together, among, with_others = ask_vllm(served, tmp_path, [parallel, mixed, swapped]).rounds
    expected = transformers_answers(served, prompts, "parallel", english)
    assert_same(together, expected)
    assert_same(among[1::2], expected[1::2])
    # The prefix cache holds this prompt already, connected with other English ones.
    assert_same(with_others, transformers_answers(served, [prompts[0]] * 3, "parallel", english[:3]))


def test_prompts_in_chunks_of_33_tokens_change_nothing(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "qwen2")
    (chunked,) = ask_vllm(
        served, tmp_path, [requests_of(served.prompts)],
        max_num_batched_tokens=33, max_num_seqs=8, enable_prefix_caching=False,
    ).rounds  # fmt: skip
    assert_same(chunked, transformers_answers(served, served.prompts))


def test_requests_that_are_preempted_and_read_again_change_nothing(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    told = ask_vllm(
        served, tmp_path, [requests_of(served.prompts)],
        num_gpu_blocks_override=14, max_model_len=256, enable_prefix_caching=False,
    )  # fmt: skip
    assert told.counted["vllm:num_preemptions"] > 0
    assert_same(told.rounds[0], transformers_answers(served, served.prompts))


def test_a_request_answers_alone_and_among_others_of_other_modes_the_same(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "gemma3_text")
    prompts, modes = served.prompts[:24], ("transform", "off", "identity")
    mixed = [requests_of([prompt], connection=modes[place % 3])[0] for place, prompt in enumerate(prompts)]
    together, *alone = ask_vllm(
        served, tmp_path, [mixed, *([request] for request in mixed)], enable_prefix_caching=False
    ).rounds
    assert_same(together, [answer for (answer,) in alone])
    for place, mode in enumerate(modes):
        assert_same(together[place::3], transformers_answers(served, prompts[place::3], mode))  # type: ignore[arg-type]


def test_two_tensor_parallel_workers_answer_as_one_does(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    (answers,) = ask_vllm(
        served, tmp_path, [requests_of(served.prompts)],
        variables={"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, tensor_parallel_size=2,
    ).rounds  # fmt: skip
    assert_same(answers, transformers_answers(served, served.prompts))


def test_a_compiled_model_answers_as_the_reference_does(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    (answers,) = ask_vllm(served, tmp_path, [requests_of(served.prompts)], enforce_eager=False).rounds
    assert_same(answers, transformers_answers(served, served.prompts))
