"""Checkpoints for people whose transformers is of version 4: the same logits and the same token ids there as here.

`CC_TUNING_EARLIER_TRANSFORMERS` names a folder with such a version, as made by
`pip install --no-deps --target FOLDER 'transformers==4.57.*' 'tokenizers==0.22.*' 'huggingface_hub==0.36.*'`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from cc_tuning.model.checkpoint import write_base_model
from cc_tuning.model.earlier_transformers import write_earlier_tokenizer_keys
from tests.conftest import LLAMA_TOKENS, learnt_tokenizer
from tests.model.tiny_connected import FAMILIES, random_prompts, tiny_base

EARLIER = os.environ.get("CC_TUNING_EARLIER_TRANSFORMERS", "")
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
ROTARY: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {"rope_type": "default", "rope_theta": 500000.0}) for family in FAMILIES},
    "gemma3_text": (
        "gemma3_text",
        {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 777.0},
        },
    ),
    "llama of Llama 3.1": ("llama", LLAMA3 | {"rope_type": "llama3", "rope_theta": 500000.0}),
    "qwen2 by YaRN": (
        "qwen2",
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e6},
    ),
    "mistral by a factor": ("mistral", {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}),
    "olmo2 by a factor": ("olmo2", {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}),
    "phi3 of long texts": (
        "phi3",
        {
            "rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [2.0, 3.0, 5.0, 9.0],
            "rope_theta": 10000.0,
        },
    ),
}  # fmt: skip
"""A model of each family with another base than transformers' own, and one of each kind of scaling."""

ASK = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompts, text = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
if prompts:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        told = model(torch.tensor(prompts)).logits.tolist()
else:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text)["input_ids"]
    told = [ids, tokenizer.additional_special_tokens, tokenizer.decode(ids)]
print(json.dumps([transformers.__version__, told]))
"""


def earlier(folder: Path, prompts: list[list[int]], text: str = "") -> Any:
    """What transformers 4 says of a folder: the logits of prompts, or the ids of a text."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(folder), json.dumps(prompts), text],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": EARLIER, "HF_HUB_OFFLINE": "1"}, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    version, told = json.loads(done.stdout.splitlines()[-1])
    assert version.startswith("4.")
    return told


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the model of a row of ROTARY as this project writes every model."""

    def write(name: str) -> Path:
        family, parameters = ROTARY[name]
        # Longer than Phi 3's first training, so that its long factors are read.
        sizes = {"original_max_position_embeddings": 8} if family == "phi3" else {}
        write_base_model(tmp_path, tiny_base(family, rope_parameters=parameters, **sizes), [5])
        return tmp_path

    return write


@pytest.mark.parametrize("name", ROTARY)
def test_the_current_version_reads_the_same_model_with_the_earlier_keys_as_without(
    save: Callable[[str], Path], name: str
) -> None:
    folder = save(name)
    written = json.loads((folder / "config.json").read_text())
    assert "rope_theta" in written
    prompts = torch.tensor(random_prompts((20,)))
    with torch.no_grad():
        both = AutoModelForCausalLM.from_pretrained(folder)(prompts).logits
        only_new = {k: v for k, v in written.items() if k not in ("rope_theta", "rope_scaling", "rope_local_base_freq")}
        (folder / "config.json").write_text(json.dumps(only_new))
        assert torch.equal(both, AutoModelForCausalLM.from_pretrained(folder)(prompts).logits)


@pytest.mark.parametrize("kind", [["<|x|>", "<|y|>"], None], ids=["further control tokens", "none"])
def test_a_tokenizer_is_the_same_under_the_name_that_both_versions_know(tmp_path: Path, kind: list[str] | None) -> None:
    before = save_tokenizer(tmp_path, kind)
    write_earlier_tokenizer_keys(tmp_path)
    after = AutoTokenizer.from_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert after.backend_tokenizer.to_str() == before.backend_tokenizer.to_str()
    assert after.special_tokens_map == before.special_tokens_map
    assert after.extra_special_tokens == before.extra_special_tokens == (kind or [])


@pytest.mark.skipif(not EARLIER, reason="CC_TUNING_EARLIER_TRANSFORMERS names no folder with transformers 4")
@pytest.mark.parametrize("name", ROTARY)
def test_an_earlier_version_computes_the_same_logits(save: Callable[[str], Path], name: str) -> None:
    folder, prompts = save(name), random_prompts((20,))
    with torch.no_grad():
        here = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")(torch.tensor(prompts)).logits
    assert torch.allclose(torch.tensor(earlier(folder, prompts)), here, rtol=0, atol=1e-5 * float(here.abs().max()))


@pytest.mark.skipif(not EARLIER, reason="CC_TUNING_EARLIER_TRANSFORMERS names no folder with transformers 4")
def test_an_earlier_version_makes_the_same_ids_of_a_text(tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path, ["<|x|>"])
    write_earlier_tokenizer_keys(tmp_path)
    text = "<|begin_of_text|>Habari, dünya 你好?<|x|> <|eot_id|>"
    ids = tokenizer(text)["input_ids"]
    assert earlier(tmp_path, [], text) == [ids, ["<|x|>"], tokenizer.decode(ids)]


def save_tokenizer(folder: Path, further: list[str] | None) -> Any:
    PreTrainedTokenizerFast(
        tokenizer_object=learnt_tokenizer([*LLAMA_TOKENS, *(further or [])]),
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        **({"extra_special_tokens": further} if further else {}),
    ).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)
