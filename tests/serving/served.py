"""Small models as training leaves them, what the transformers engine answers, and what vLLM answers."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from cc_tuning.model import ConnectionConfig, ConnectionMode, CrossLingualModel
from cc_tuning.model.normalisation import ActivationStatistics
from cc_tuning.model.serving_export import export_for_serving
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from tests.conftest import LINES, saved_tokenizer
from tests.model.tiny_connected import left_padded, tiny_base

ROOT = Path(__file__).resolve().parent.parent.parent
LAYERS, HIDDEN, VOCABULARY = 4, 128, 320
NEW_TOKENS = 24
# vLLM's attention on a CPU has heads of 32 dimensions and more, and blocks of a multiple of 32 tokens.
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 256,
    "num_hidden_layers": LAYERS,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}
_WINDOWED = {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"] * 2}
_FAMILIES: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 40},
    "gemma3_text": _WINDOWED | {"query_pre_attn_scalar": 32},
}
ENGINE = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 512,
    "kv_cache_memory_bytes": 256 << 20,
    "block_size": 32,
    "max_logprobs": -1,
    "disable_log_stats": False,
}


def vllm_python() -> str:
    """The interpreter of the environment that `make vllm` makes; a test that needs it is skipped without it."""
    named = os.environ.get("CC_TUNING_VLLM_PYTHON")
    found = Path(named) if named else ROOT / ".vllm" / "bin" / "python"
    if not found.is_file():
        pytest.skip("needs vLLM: `make vllm`, or CC_TUNING_VLLM_PYTHON with an interpreter that has it")
    return str(found)


@dataclass(frozen=True)
class Served:
    """A checkpoint, the directory exported from it, and prompts for both."""

    checkpoint: Path
    directory: Path
    prompts: list[list[int]]


def served_model(
    folder: Path, family: str, connection: ConnectionConfig | None = None, transform: TransformMatrix | None = None
) -> Served:
    """A random model whose connection changes its answers, exported, and 64 chat prompts of 14 to about 160 tokens."""
    connection = connection or ConnectionConfig()
    saved_tokenizer(folder / "tokenizer", "llama3")
    tokenizer = load_tokenizer(folder / "tokenizer", "llama3")
    chat = ChatPrompts(tokenizer)
    model = CrossLingualModel.from_base(tiny_base(family, **(_SIZES | _FAMILIES.get(family, {}))), connection)
    generator = torch.Generator().manual_seed(5)
    if connection.normalise != "none":
        mean, deviation = torch.randn(LAYERS, HIDDEN, generator=generator), torch.rand(LAYERS, HIDDEN) + 0.5
        model.normalisation.use(ActivationStatistics(mean, deviation, 100))
    model.set_transform(transform or TransformMatrix(torch.randn(HIDDEN, HIDDEN, generator=generator) / HIDDEN**0.5))
    model.save_pretrained(folder / "checkpoint", stop_token_ids=chat.stop_token_ids)
    tokenizer.save_pretrained(folder / "checkpoint")
    export_for_serving(folder / "checkpoint", folder / "served")
    texts = [" ".join(f"{number} {LINES[(number + part) % 4]}" for part in range(number % 7)) for number in range(64)]
    return Served(folder / "checkpoint", folder / "served", chat.encode_prompts(texts))


@dataclass(frozen=True)
class Answer:
    """One greedy answer, and the log-probabilities of its first token over the whole vocabulary."""

    token_ids: list[int]
    first: torch.Tensor  # [V] float32
    cached: int = 0


def transformers_answers(
    served: Served,
    prompts: list[list[int]],
    mode: ConnectionMode = "transform",
    english: list[list[int]] | None = None,
) -> list[Answer]:
    """What the reference engine answers, one prompt at a time; `english` are the prompts that `parallel` reads."""
    model = CrossLingualModel.from_pretrained(served.checkpoint, dtype=torch.float32)
    stops = model.base.generation_config.eos_token_id
    answers = []
    for number, prompt in enumerate(prompts):
        beside = {f"english_{name}": ids for name, ids in left_padded([english[number]]).items()} if english else {}
        made: Any = model.generate(
            **left_padded([prompt]),
            **beside,
            connection=mode,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        new = made.sequences[0, len(prompt) :].tolist()
        end = next((place + 1 for place, token in enumerate(new) if token in stops), len(new))
        answers.append(Answer(new[:end], made.logits[0][0].float().log_softmax(-1)))
    return answers


@dataclass(frozen=True)
class Told:
    """What vLLM answered."""

    rounds: list[Any]
    """Of each round its answers, or the text of the error with which it was refused."""
    counted: dict[str, float]
    """Counters at the end, by name and, where they have one, mode: vLLM's, and those of the connection."""


def ask_vllm(
    served: Served,
    folder: Path,
    rounds: list[list[dict[str, Any]]],
    variables: dict[str, str] | None = None,
    **arguments: Any,
) -> Told:
    """vLLM's answers to each round of requests."""
    told = _run(folder, {"model": str(served.directory), "arguments": ENGINE | arguments, "rounds": rounds}, variables)
    answers = [
        answers["error"] if isinstance(answers, dict) else [_read(answer) for answer in answers]
        for answers in told["rounds"]
    ]
    return Told(answers, told["counted"])


def refusals_of_vllm(served: Served, folder: Path, attempts: list[dict[str, Any]]) -> list[str]:
    """The errors with which vLLM refuses to start with each of the arguments; empty where it starts."""
    errors: list[str] = _run(folder, {"model": str(served.directory), "arguments": ENGINE, "attempts": attempts}, None)
    return errors


def _run(folder: Path, job: dict[str, Any], variables: dict[str, str] | None) -> Any:
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "answers.json").unlink(missing_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = inherited | {"HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "WARNING"} | (variables or {})
    ran = subprocess.run(
        [vllm_python(), str(Path(__file__).with_name("ask_vllm.py")), "job.json", "answers.json"],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (folder / "answers.json").is_file(), ran.stderr[-6000:]
    return json.loads((folder / "answers.json").read_text())


def _read(answer: dict[str, Any]) -> Answer:
    first = torch.full((VOCABULARY,), float("nan"))
    for token, logprob in answer["first"].items():
        first[int(token)] = logprob
    return Answer(answer["token_ids"], first, answer["cached"] or 0)


def requests_of(prompts: list[list[int]], **extra_args: Any) -> list[dict[str, Any]]:
    """One round of requests."""
    return [{"prompt": prompt, "extra_args": extra_args or None, "max_tokens": NEW_TOKENS} for prompt in prompts]


def assert_same(got: list[Answer], expected: list[Answer], tolerance: float = 1e-4) -> None:
    """Every token of every answer is the same, and every log-probability of a first token within `tolerance`."""
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.first, other.first, rtol=0, atol=tolerance)
    assert [answer.token_ids for answer in got] == [answer.token_ids for answer in expected]
