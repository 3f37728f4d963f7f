"""Heads padded with zeros: another shape, the same model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from cc_tuning.model.padded_heads import SIZES_ON_CPU, pad_heads, padded_size
from tests.model.tiny_connected import VOCABULARY, tiny_base

SIZES = {"hidden_size": 96, "head_dim": 24, "num_key_value_heads": 2, "initializer_range": 0.1}
MODELS = [("llama", 24), ("mistral", 24), ("qwen2", 24), ("llama", 8), ("llama", 72)]


def saved(folder: Path, family: str, **changes: object) -> Path:
    tiny_base(family, **(SIZES | changes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "size"), [("llama", 24), ("mistral", 24), ("qwen2", 24), ("llama", 8), ("llama", 72)]
)
def test_a_model_with_padded_heads_gives_the_same_logits(tmp_path: Path, family: str, size: int) -> None:
    folder = saved(tmp_path, family, head_dim=size)
    before = AutoModelForCausalLM.from_pretrained(folder)
    assert pad_heads(folder)
    after = AutoModelForCausalLM.from_pretrained(folder)
    larger = after.config.head_dim
    assert larger in SIZES_ON_CPU and larger > size
    assert after.model.layers[0].self_attn.k_proj.weight.shape == (2 * larger, 96)
    ids = torch.randint(VOCABULARY, (2, 200), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits, expected = after(input_ids=ids).logits, before(input_ids=ids).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=5e-5)


def test_the_base_of_rotary_positions_is_changed_wherever_it_stands(tmp_path: Path) -> None:
    folder = saved(tmp_path, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 10_000.0}))
    assert pad_heads(folder)
    padded = json.loads((folder / "config.json").read_text())
    assert padded["rope_theta"] == padded["rope_parameters"]["rope_theta"] == pytest.approx(10_000.0 ** (32 / 24))


def test_heads_of_a_served_size_stay_as_they_are(tmp_path: Path) -> None:
    folder = saved(tmp_path, "llama", head_dim=32)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert not pad_heads(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_heads_that_are_normalised_are_never_padded(tmp_path: Path, family: str) -> None:
    assert not pad_heads(saved(tmp_path, family))


def test_rounded_weights_and_stretched_positions_are_never_padded(tmp_path: Path) -> None:
    folder = saved(tmp_path / "rounded", "llama")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    assert not pad_heads(folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] |= {"rope_type": "linear", "factor": 2.0}
    assert padded_size(config) is None


def test_a_link_to_weights_is_replaced_and_what_it_pointed_to_stays(tmp_path: Path) -> None:
    original = saved(tmp_path / "original", "llama")
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in original.iterdir():
        (linked / file.name).symlink_to(file)
    (linked / "config.json").unlink()
    (linked / "config.json").write_text((original / "config.json").read_text())
    before = (original / "model.safetensors").read_bytes()
    assert pad_heads(linked)
    assert (original / "model.safetensors").read_bytes() == before
    with safe_open(linked / "model.safetensors", "pt") as opened:
        assert opened.get_slice("model.layers.0.self_attn.v_proj.weight").get_shape() == [64, 96]
