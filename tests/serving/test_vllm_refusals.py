"""What cannot be served is refused by name: at start, or where the request enters."""

import json
from pathlib import Path

import pytest

from cc_tuning.model import ConnectionConfig
from tests.serving.served import Served, ask_vllm, refusals_of_vllm, requests_of, served_model, vllm_python

pytestmark = pytest.mark.slow

AT_START = {
    "pipeline parallelism (pipeline_parallel_size 2)": {"pipeline_parallel_size": 2},
    "LoRA adapters": {"enable_lora": True},
    "speculative decoding (ngram)": {
        "speculative_config": {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}
    },
    "KV transfer (ExampleConnector)": {
        "kv_transfer_config": {"kv_connector": "ExampleConnector", "kv_role": "kv_both"}
    },
    "prompt embeddings": {"enable_prompt_embeds": True},
}


def test_what_does_not_go_with_a_connection_is_refused_at_start(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    errors = refusals_of_vllm(served, tmp_path, list(AT_START.values()))
    for name, error in zip(AT_START, errors, strict=True):
        assert f"cannot be served with {name}" in error


def test_a_directory_that_is_not_what_the_plugin_reads_is_refused_at_start(tmp_path: Path) -> None:
    vllm_python()
    served = served_model(tmp_path, "llama")
    config = json.loads((served.directory / "config.json").read_text())
    config["cc_tuning"]["format"] = 99
    (served.directory / "config.json").write_text(json.dumps(config))
    (error,) = refusals_of_vllm(served, tmp_path, [{}])
    assert "has format 99, this plugin reads 1" in error


def test_requests_that_cannot_be_connected_are_refused_and_others_still_answered(tmp_path: Path) -> None:
    vllm_python()
    served: Served = served_model(tmp_path, "llama", ConnectionConfig(offset=1))
    prompt = served.prompts[0]
    refused = {
        "the switch 'connected'": requests_of([prompt], connected="off"),
        "connection='maybe'": requests_of([prompt], connection="maybe"),
        "'english' with a str": requests_of([prompt], english="What?"),
        "no token 1 before its last": requests_of([prompt[:1]]),
        "beam search is not possible": [{"prompt": prompt, "beam_search": True}],
    }
    *errors, answers = ask_vllm(served, tmp_path, [*refused.values(), requests_of([prompt])]).rounds
    for name, error in zip(refused, errors, strict=True):
        assert name in error
    assert answers[0].token_ids
