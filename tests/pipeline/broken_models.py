"""Broken model directories, made by rule: config.json and weights."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.pipeline.breaking import Variant, changed, cut, drop, removed, written

CONFIG, WEIGHTS = "base/config.json", "base/model.safetensors"
ODD_VALUES: Mapping[str, Any] = {
    "null": None, "a list": [], "an object": {}, "a word": "many", "minus one": -1, "nothing": 0, "a fraction": 2.5,
}  # fmt: skip
SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")


def of_configs() -> Iterator[Variant]:
    """config.json: damaged, of another kind of model, or of other sizes than the weights have."""
    yield Variant("config is cut", "model.base", cut(CONFIG))
    for name, content in {
        "empty": "",
        "a list": "[]",
        "a word": '"llama"',
        "null": "null",
        "no UTF-8": b"\xff\xfe{",
    }.items():
        yield Variant(f"config is {name}", "model.base", written(CONFIG, content))
    for name, value in {**ODD_VALUES, "unknown": "llamma", "an encoder": "bert", "a translator": "m2m_100"}.items():
        yield Variant(f"model_type is {name}", "model.base", changed(CONFIG, model_type=value))
    yield Variant("model_type is absent", "model.base", drop(CONFIG, "model_type"))
    for size in SIZES:
        for name, value in ODD_VALUES.items():
            yield Variant(f"{size} is {name}", "model.base", changed(CONFIG, **{size: value}))
    for size, value in {
        "hidden_size": 64, "num_hidden_layers": 5, "vocab_size": 64, "intermediate_size": 128, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 16,
    }.items():  # fmt: skip
        yield Variant(f"{size} is another than the weights have", "model.base", changed(CONFIG, **{size: value}))
    for name, changes in {
        "quantised": {"quantization_config": {"quant_method": "awq"}},
        "several parts": {"text_config": {"model_type": "llama"}},
        "encoder and decoder": {"is_encoder_decoder": True},
        "code of its own": {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}},
        "an activation nobody knows": {"hidden_act": "gelo"},
        "rotary scaling nobody knows": {"rope_scaling": {"rope_type": "magic", "factor": 2.0}},
        "rotary scaling without its factor": {"rope_scaling": {"rope_type": "linear"}},
    }.items():
        yield Variant(f"config has {name}", "model.base", changed(CONFIG, **changes))


def of_generation() -> Iterator[Variant]:
    """generation_config.json: no JSON object, or with token ids that are none."""
    file = "base/generation_config.json"
    for name, content in {
        "cut": '{"eos_', "a list": "[2]", "empty": "", "no UTF-8": b"\xff\xfe{",
        "of an end in words": '{"eos_token_id": "</s>"}', "of a padding by a fraction": '{"pad_token_id": 1.5}',
        "of ends that are not all numbers": '{"eos_token_id": [2, null]}',
    }.items():  # fmt: skip
        yield Variant(f"generation_config.json is {name}", "model.base", written(file, content))


def of_weights() -> Iterator[Variant]:
    """Weights: cut, replaced, in pickles, or not all there."""
    yield Variant("weights are cut", "model.base", cut(WEIGHTS))
    for name, content in {
        "empty": b"",
        "zeros": bytes(4096),
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    }.items():
        yield Variant(f"weights are {name}", "model.base", written(WEIGHTS, content))
    yield Variant("weights are absent", "model.base", removed(WEIGHTS))
    yield Variant(
        "weights are pickles",
        "model.base",
        lambda project, _: (project / WEIGHTS).rename(project / "base" / "pytorch_model.bin"),
    )
    yield Variant(
        "weights are an adapter's",
        "model.base",
        lambda project, _: (project / WEIGHTS).rename(project / "base" / "adapter_model.safetensors"),
    )
    index = "base/model.safetensors.index.json"
    for name, content in {
        "names files that are missing": '{"weight_map": {"a": "model-00002-of-00002.safetensors"}}',
        "is no JSON": "{", "is a list": "[]", "maps to numbers": '{"weight_map": {"a": 1}}',
        "maps nothing": '{"weight_map": []}',
    }.items():  # fmt: skip
        yield Variant(f"the index of weights {name}", "model.base", written(index, content))
