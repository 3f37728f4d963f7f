"""Models that are not meant well: weights elsewhere, sizes that are not there, values that are no numbers, templates
that do not end. Each is one line, before it costs memory or hours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cc_tuning.errors import CcTuningError, ConfigError, UnsupportedModel
from cc_tuning.model.checkpoint import read_base_model
from cc_tuning.runtime.pretrained import faults_of_model
from cc_tuning.runtime.weight_files import WeightFiles
from cc_tuning.text import chat_turns
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from data_contracts.errors import DataContractError

INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path: Path, tiny_llama_directory: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_llama_directory.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def load(folder: Path) -> object:
    return read_base_model(folder, torch.float32)


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def short(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text and len(text) < 1_500
    return text


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", ".hidden.safetensors", "/etc/x.safetensors", "sub/x"])
def test_an_index_that_leads_elsewhere_is_refused(model: Path, name: str) -> None:
    weights = model / "model.safetensors"
    names = list(load_file(weights))
    (model / name).parent.mkdir(exist_ok=True)
    if not name.startswith("/"):
        weights.rename(model / name)
    save_file({"other": torch.zeros(1)}, model / "model-00001-of-00002.safetensors")
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, name)}))
    with pytest.raises(UnsupportedModel, match="its index of weights leads to"):
        load(model)
    assert any("its index of weights leads to" in fault for fault in faults_of_model(WeightFiles(model)))


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "num_hidden_layers"])
@pytest.mark.parametrize("value", [10**9, 10**30, 0, -1, "many", True])
def test_a_config_that_claims_other_sizes_than_the_weights_have_is_refused(model: Path, key: str, value: Any) -> None:
    change_json(model / "config.json", **{key: value})
    with pytest.raises(UnsupportedModel, match=f"config.json says {key} is") as refused:
        load(model)
    short(refused.value)
    assert any(f"config.json says {key} is" in fault for fault in faults_of_model(WeightFiles(model)))


@pytest.mark.parametrize(
    "values",
    [
        {"num_attention_heads": 10**6}, {"num_attention_heads": 7}, {"num_key_value_heads": 3}, {"head_dim": 10**6},
        {"intermediate_size": 10**6}, {"rope_theta": "x"}, {"hidden_act": "nothing"}, {"rms_norm_eps": "x"},
        {"max_position_embeddings": "x"}, {"dtype": "float7"}, {"model_type": ["llama"]}, {"rope_scaling": {"a": 1}},
        {"architectures": 5}, {"tie_word_embeddings": "x"}, {"layer_types": ["x"]}, {"pad_token_id": 10**9},
    ],
    ids=str,
)  # fmt: skip
def test_other_lies_of_a_config_are_one_line_or_change_nothing(model: Path, values: dict[str, Any]) -> None:
    change_json(model / "config.json", **values)
    try:
        loaded: Any = load(model)
    except (CcTuningError, DataContractError) as error:
        short(error)
    else:
        weights = loaded.state_dict()
        assert all(
            torch.equal(weights[name], tensor) for name, tensor in load_file(model / "model.safetensors").items()
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(model: Path, value: float) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"no finite numbers, first in model\.layers\.1\.mlp\.up_proj"):
        load(model)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('never') }}", "cannot be rendered for a question: never"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages.x.y.z }}", "cannot be rendered"),
        ("{% for", "cannot be rendered"),
        ("{{ ''.__class__.__mro__ }}", "cannot be rendered"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "cannot be rendered"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "did not end within 2 seconds",
        ),
    ],
)
def test_a_template_that_raises_or_never_ends_is_one_line(
    model: Path, template: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_turns, "_RENDERING_SECONDS", 2.0)
    (model / "chat_template.jinja").write_text(template)
    with pytest.raises((UnsupportedModel, ConfigError), match=message) as refused:
        ChatPrompts(load_tokenizer(model))
    short(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["model"].update(vocab={"a": 2**40}),
        lambda content: content["model"]["vocab"].update(huge=2**31 - 1),
        lambda content: content["model"].update(merges=[["a", "nowhere"]]),
        lambda content: content["added_tokens"].append({"id": 10**9, "content": "<x>", "special": True}),
        lambda content: content.update(normalizer={"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
        lambda content: content.update(model=None),
    ],
    ids=["an id of 41 bits", "an id of 31 bits", "a merge of nothing", "a far token", "a regex", "no model"],
)
def test_a_tokenizer_that_lies_is_one_line_or_within_the_model(
    model: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    change(content)
    (model / "tokenizer.json").write_text(json.dumps(content))
    try:
        prompts = ChatPrompts(load_tokenizer(model, "llama3"))
    except CcTuningError as error:
        short(error)
        return
    assert max(prompts.encode_prompt("habari")) < 320
