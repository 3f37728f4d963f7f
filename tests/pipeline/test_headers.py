"""Weights are held against config.json by the headers of their files, of a model of any size."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from cc_tuning.model.headers import faults_of_weights
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.preflight import find_faults
from cc_tuning.runtime.pretrained import faults_of_model
from cc_tuning.runtime.weight_files import WeightFiles
from cc_tuning.text.prompts import load_tokenizer
from tests.model.tiny_connected import FAMILIES, tiny_base

EIGHT_BILLION = LlamaConfig(
    vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=8,
)  # fmt: skip
"""The shape of Llama 3.1 8B."""


def faults(folder: Path) -> list[str]:
    return list(faults_of_weights(WeightFiles(folder), AutoConfig.from_pretrained(folder)))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_every_family_as_transformers_saves_it_has_no_fault(family: str, tied: bool, tmp_path: Path) -> None:
    tiny_base(family, tie_word_embeddings=tied).save_pretrained(tmp_path)
    assert [*faults_of_model(WeightFiles(tmp_path)), *faults(tmp_path)] == []


def test_files_of_a_bare_decoder_are_read_under_its_prefix(tmp_path: Path) -> None:
    tiny_base("llama", tie_word_embeddings=True).model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert faults(tmp_path) == []
    _, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_each_weight_that_is_absent_is_counted_and_the_first_is_named(family: str, tmp_path: Path) -> None:
    tiny_base(family).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = [name for name in weights if ".layers.1." in name]
    save_file({name: w for name, w in weights.items() if name not in gone}, tmp_path / "model.safetensors")
    (found,) = faults(tmp_path)
    assert found.startswith(f"{len(gone)} of the ") and ".layers.1." in found


def write_sparse(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file in bfloat16 that has its headers and no content: a hole of the right length."""
    headers, place = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        headers[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(headers).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + place)


def write_eight_billion(folder: Path) -> dict[str, tuple[int, ...]]:
    """config.json and four files of weights with their index, 16 GB of holes; the shapes by name."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(EIGHT_BILLION)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    files = {name: f"model-{1 + index * 4 // len(shapes):05}-of-00004.safetensors" for index, name in enumerate(shapes)}
    for file in sorted(set(files.values())):
        write_sparse(folder / file, {name: shape for name, shape in shapes.items() if files[name] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    EIGHT_BILLION.save_pretrained(folder)
    return shapes


def test_a_model_of_eight_billion_weights_is_checked_without_reading_them(
    tmp_path: Path, tiny_llama_directory: Path
) -> None:
    shapes = write_eight_billion(tmp_path)
    load_tokenizer(tiny_llama_directory, "llama3").save_pretrained(tmp_path)
    recipe = {
        "name": "large", "runs": ["cc-tuning"], "model": {"base": str(tmp_path)}, "data": {"source": "miniature"},
        "translation": {"model": "miniature"}, "execution": {"store": str(tmp_path / "store"), "device": "cpu"},
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))

    def found() -> list[str]:
        loaded = load_recipe(path)
        return [str(each) for each in find_faults(plan_recipe(loaded, hash_sources=False), loaded.execution)]

    assert sum(torch.Size(shape).numel() for shape in shapes.values()) > 8e9
    assert found() == []
    cut = tmp_path / "model-00003-of-00004.safetensors"
    with cut.open("rb+") as file:
        file.truncate(cut.stat().st_size - 2)
    (only,) = found()
    assert cut.name in only and "truncated" in only
