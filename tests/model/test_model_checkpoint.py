"""Checkpoints: what is written, what ordinary tools see, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model import ConnectionConfig, CrossLingualModel, has_connection, load_checkpoint
from cc_tuning.model.checkpoint import CONNECTION_FILE, DESCRIPTION_FILE
from data_contracts.errors import ArtifactMismatch
from tests.model.tiny_connected import HIDDEN, left_padded, random_prompts, tiny_model, training_batch


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_model("llama", ConnectionConfig(offset=1)).save_pretrained(tmp_path / "checkpoint", stop_token_ids=[5, 9])
    return tmp_path / "checkpoint"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("selector", ["decision_maker", "mean", "random"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_round_trip_gives_the_same_model(family: str, selector: str, tied: bool, tmp_path: Path) -> None:
    connection = ConnectionConfig(selector=selector, offset=1, temperature=0.5)
    model = tiny_model(family, connection, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path, stop_token_ids=[7], fingerprints={"train": "ab" * 32})
    loaded = CrossLingualModel.from_pretrained(tmp_path)
    assert loaded.connection == connection
    assert not loaded.training
    expected = model.state_dict() | {"transform_matrix": model.transform_matrix}
    got = loaded.state_dict() | {"transform_matrix": loaded.transform_matrix}
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    batch = left_padded(random_prompts())
    arguments = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": 7}
    assert torch.equal(loaded.generate(**batch, **arguments), model.generate(**batch, **arguments))


def test_directory_is_an_ordinary_hugging_face_model(saved: Path) -> None:
    model, report = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["missing_keys"]
    assert model.generation_config.eos_token_id == [5, 9]
    description = json.loads((saved / DESCRIPTION_FILE).read_text())
    assert description["stop_token_ids"] == [5, 9]
    assert (description["family"], description["layers"], description["hidden_size"]) == ("llama", 3, HIDDEN)
    assert description["connection"]["offset"] == 1
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(saved / CONNECTION_FILE).items()}
    assert shapes == {"decision_maker.weight": (HIDDEN, 3), "transform_matrix": (HIDDEN, HIDDEN)}
    assert not [file.name for file in saved.iterdir() if file.name.startswith(".")]


def test_saved_stop_ids_end_the_response(saved: Path) -> None:
    model = CrossLingualModel.from_pretrained(saved)
    model.base.lm_head.weight.data[9] = 100 * model.base.lm_head.weight.data.abs().max()
    model.base.lm_head.weight.data[5] = -model.base.lm_head.weight.data[9]
    batch = left_padded(random_prompts((4,)))
    output = model.generate(**batch, max_new_tokens=30, do_sample=False)
    assert output.shape[1] == 5
    assert int(output[0, -1]) in (5, 9)


def test_saving_again_replaces_the_files_and_drops_old_shards(saved: Path) -> None:
    (saved / "model-00001-of-00002.safetensors").write_bytes(b"old")
    (saved / "model.safetensors.index.json").write_text("{}")
    (saved / "tokenizer.json").write_text("{}")
    other = tiny_model("llama", ConnectionConfig(selector="mean"))
    other.save_pretrained(saved)
    assert CrossLingualModel.from_pretrained(saved).connection.selector == "mean"
    assert not list(saved.glob("model-*"))
    assert (saved / "tokenizer.json").exists()


def test_transform_matrix_of_an_artifact_takes_the_place_of_the_saved_one(saved: Path, tmp_path: Path) -> None:
    matrix = torch.eye(HIDDEN) * 2
    save_file({"transform_matrix": matrix}, tmp_path / "transform_matrix.safetensors")
    model = load_checkpoint(saved, transform_matrix=tmp_path / "transform_matrix.safetensors")
    assert torch.equal(model.transform_matrix, matrix)


def test_bfloat16_loading_keeps_decision_maker_and_matrix_in_float32(saved: Path) -> None:
    model = CrossLingualModel.from_pretrained(saved, dtype=torch.bfloat16)
    assert model.base.dtype == torch.bfloat16
    assert model.decision_maker.weight.dtype == model.transform_matrix.dtype == torch.float32
    model.train()(**training_batch()).loss.backward()
    assert model.decision_maker.weight.grad.dtype == torch.float32


def test_plain_checkpoint_loads_without_a_connection(tmp_path: Path) -> None:
    tiny_model("llama").base.save_pretrained(tmp_path)
    assert not has_connection(tmp_path)
    assert not isinstance(load_checkpoint(tmp_path), CrossLingualModel)
    with pytest.raises(ConfigError, match=r"no cross-lingual connection.*ordinary model"):
        CrossLingualModel.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="cannot be used"):
        load_checkpoint(tmp_path, transform_matrix=tmp_path / "x.safetensors")


def test_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected the checkpoint directory"):
        CrossLingualModel.from_pretrained(tmp_path)
    with pytest.raises(ArtifactMismatch, match=r"config\.json is missing"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", CONNECTION_FILE])
@pytest.mark.parametrize("damage", ["truncated", "missing", "garbage"])
def test_damaged_weights_are_refused_by_file_name(saved: Path, name: str, damage: str) -> None:
    if damage == "truncated":
        truncate(saved / name)
    elif damage == "missing":
        (saved / name).unlink()
    else:
        (saved / name).write_bytes(b"\x00" * 512)
    with pytest.raises(ArtifactMismatch, match=name if name == CONNECTION_FILE else "cannot be loaded"):
        CrossLingualModel.from_pretrained(saved)


def test_absent_weights_are_not_filled_with_random_numbers(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactMismatch, match=r"1 absent.*layers\.1\.mlp\.up_proj"):
        CrossLingualModel.from_pretrained(saved)


def test_a_checkpoint_from_before_the_sites_answers_as_it_did(tmp_path: Path) -> None:
    model = tiny_model("gemma3_text", ConnectionConfig(site="block_output"))
    model.save_pretrained(tmp_path / "checkpoint", stop_token_ids=[5])
    file = tmp_path / "checkpoint" / DESCRIPTION_FILE
    content = json.loads(file.read_text())
    del content["connection"]["site"]
    file.write_text(json.dumps(content | {"format": 1}))
    loaded = CrossLingualModel.from_pretrained(tmp_path / "checkpoint")
    assert loaded.connection == model.connection
    prompts = left_padded(random_prompts())
    assert torch.equal(
        loaded.generate(**prompts, connection="transform", max_new_tokens=4),
        model.generate(**prompts, connection="transform", max_new_tokens=4),
    )


def test_description_that_is_damaged_or_newer_is_refused(saved: Path) -> None:
    file = saved / DESCRIPTION_FILE
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"format": 6}))
    with pytest.raises(ConfigError, match="has format 6"):
        CrossLingualModel.from_pretrained(saved)
    file.write_text(json.dumps(content | {"layers": "three"}))
    with pytest.raises(ArtifactMismatch, match="damaged"):
        CrossLingualModel.from_pretrained(saved)
    file.write_text(json.dumps(content)[:-20])
    with pytest.raises(ArtifactMismatch, match="not JSON"):
        CrossLingualModel.from_pretrained(saved)


@pytest.mark.parametrize(("part", "other"), [("family", "qwen2"), ("layers", 4), ("hidden_size", 64)])
def test_parts_of_different_models_are_refused(saved: Path, part: str, other: str | int) -> None:
    content = json.loads((saved / DESCRIPTION_FILE).read_text())
    (saved / DESCRIPTION_FILE).write_text(json.dumps(content | {part: other}))
    with pytest.raises(ArtifactMismatch, match=rf"describes.*{other}.*base model beside it is.*{content[part]}"):
        CrossLingualModel.from_pretrained(saved)


def test_selector_weights_of_another_model_are_refused(saved: Path) -> None:
    save_file({"decision_maker.weight": torch.zeros(HIDDEN, 5)}, saved / CONNECTION_FILE)
    with pytest.raises(ArtifactMismatch, match="selector weights"):
        CrossLingualModel.from_pretrained(saved)


def test_matrix_of_another_hidden_size_is_refused(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "transform_matrix.safetensors"
    save_file({"transform_matrix": torch.eye(HIDDEN + 1)}, file)
    with pytest.raises(UnsupportedModel, match=r"shape \(33, 33\).*\(32, 32\)"):
        load_checkpoint(saved, transform_matrix=file)
    save_file({"transform_matrix": torch.full((HIDDEN, HIDDEN), torch.nan)}, file)
    with pytest.raises(UnsupportedModel, match="1024 values that are not finite"):
        load_checkpoint(saved, transform_matrix=file)
    save_file({"matrix": torch.eye(HIDDEN)}, file)
    with pytest.raises(ArtifactMismatch, match="expected 'transform_matrix'"):
        load_checkpoint(saved, transform_matrix=file)
    truncate(file)
    with pytest.raises(ArtifactMismatch, match="truncated"):
        load_checkpoint(saved, transform_matrix=file)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_what_was_asked_for(attention: str, tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "connected")
    tiny_model("llama").base.save_pretrained(tmp_path / "plain")
    for name in ("connected", "plain"):
        loaded = load_checkpoint(tmp_path / name, attention=attention)
        base = loaded.base if isinstance(loaded, CrossLingualModel) else loaded
        assert base.config._attn_implementation == attention
