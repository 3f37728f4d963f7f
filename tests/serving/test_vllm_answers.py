"""vLLM answers as the transformers engine does, whatever its scheduler makes of the prompts."""

from pathlib import Path

import pytest

from tests.serving.served import (
    ask_vllm,
    assert_same,
    requests_of,
    served_model,
    transformers_answers,
    vllm_python,
)

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_64_prompts_as_the_reference_does(tmp_path: Path, family: str) -> None:
    vllm_python()
    served = served_model(tmp_path, family)
    connected, off = ask_vllm(
        served, tmp_path, [requests_of(served.prompts), requests_of(served.prompts, connection="off")]
    )
    reference = transformers_answers(served, served.prompts)
    assert_same(connected, reference)
    assert_same(off, transformers_answers(served, served.prompts, "off"))
    differing = sum(a.token_ids != b.token_ids for a, b in zip(connected, off, strict=True))
    assert differing > 32  # else the comparison would say nothing about the connection
