"""A model that was written as GGUF comes back as the directory it was, up to what its quantisation rounds away."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from typer.testing import CliRunner

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model.gguf_import import import_gguf
from flows.cli import app
from tests.conftest import LINES
from tests.model.tiny_connected import tiny_base

gguf: Any = pytest.importorskip("gguf", reason="needs the extra gguf")

HEADS, KEY_HEADS, BLOCK = 4, 2, 32
PARTS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def in_ggufs_order(name: str, weight: np.ndarray) -> np.ndarray:
    """llama.cpp turns pairs of neighbours where transformers turns halves: rows of q and k stand in another order."""
    heads = {"q_proj": HEADS, "k_proj": KEY_HEADS}.get(name.rpartition(".")[2])
    if heads is None:
        return weight
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, model: PreTrainedModel, tokenizer_folder: Path, quantised: bool) -> Path:
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _write_tokenizer(writer, tokenizer_folder, config.vocab_size)
    for name, tensor in model.state_dict().items():
        part = name.removesuffix(".weight")
        if part in WHOLE:
            target = WHOLE[part]
        else:
            _, _, layer, kind = part.split(".", 3)
            target = f"blk.{layer}.{PARTS[kind]}"
        weight = in_ggufs_order(part, tensor.numpy())
        if quantised and weight.ndim == 2:
            kind_of = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{target}.weight", gguf.quants.quantize(weight, kind_of), raw_dtype=kind_of)
        else:
            writer.add_tensor(f"{target}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tokenizer(writer: Any, folder: Path, vocabulary: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    by_id = {place: token for token, place in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([by_id.get(place, f"<unused{place}>") for place in range(vocabulary)])
    writer.add_token_types([3 if place in added or place not in by_id else 1 for place in range(vocabulary)])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.bos_token_id)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_base("llama", vocab_size=320, intermediate_size=64)


def test_weights_and_tokens_come_back(tmp_path: Path, model: PreTrainedModel, tiny_llama_directory: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", model, tiny_llama_directory, quantised=False)
    imported = import_gguf(file, tmp_path / "model")
    assert (imported.name, imported.licence, imported.family) == ("tiny", "apache-2.0", "llama")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits)
    before, after = (
        AutoTokenizer.from_pretrained(tiny_llama_directory),
        AutoTokenizer.from_pretrained(tmp_path / "model"),
    )
    for line in LINES:
        assert after(line, add_special_tokens=False)["input_ids"] == before(line)["input_ids"]
    assert again.generation_config.eos_token_id == before.eos_token_id
    assert "local_files_only" not in json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert "apache-2.0" in (tmp_path / "model" / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tiny.gguf"]


def test_quantised_weights_are_within_half_a_step(
    tmp_path: Path, model: PreTrainedModel, tiny_llama_directory: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", model, tiny_llama_directory, quantised=True)
    import_gguf(file, tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    for name, weight in model.state_dict().items():
        if weight.dim() == 2:
            # Q8_0: 32 weights share a scale, that of the largest of them at 127; the scale itself is float16.
            blocks, found = weight.reshape(-1, BLOCK), again[name].reshape(-1, BLOCK)
            step = blocks.abs().amax(1, keepdim=True) / 127
            assert ((found - blocks).abs() <= step * (0.5 + 127 * 2**-10)).all(), name
            assert not torch.equal(found, blocks)
    assert not hasattr(AutoModelForCausalLM.from_pretrained(tmp_path / "model").config, "quantization_config")


def damaged(whole: bytes, what: str) -> bytes:
    """The file with another byte in the name of the model, in its first merged token, or in its hidden size."""
    before = {"name": b"general.name", "token": b"tokenizer.ggml.tokens", "size": b"llama.embedding_length"}[what]
    place = whole.index(before) + len(before)
    if what == "name":
        place = whole.index(b"tiny", place)
    elif what == "size":
        place += 4  # behind the type of the value
    else:
        merges = whole.index(b"tokenizer.ggml.merges") + len(b"tokenizer.ggml.merges") + 4 + 4 + 8  # types, number
        length = int.from_bytes(whole[merges : merges + 8], "little")
        place = whole.index(whole[merges + 8 : merges + 8 + length].replace(b" ", b""), place)
    return whole[:place] + (b"\x40" if what == "size" else b"\xff") + whole[place + 1 :]


@pytest.mark.parametrize(
    ("what", "error"),
    [("name", ConfigError), ("token", UnsupportedModel), ("size", UnsupportedModel)],
)
def test_a_flipped_byte_is_an_error_that_names_the_file(
    tmp_path: Path, model: PreTrainedModel, tiny_llama_directory: Path, what: str, error: type[Exception]
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", model, tiny_llama_directory, quantised=False)
    file.write_bytes(damaged(file.read_bytes(), what))
    with pytest.raises(error, match=r"(?s)tiny\.gguf.*damaged"):
        import_gguf(file, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]


def test_the_command_says_what_it_made_and_refuses_what_it_cannot_use(
    tmp_path: Path, model: PreTrainedModel, tiny_llama_directory: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", model, tiny_llama_directory, quantised=False)
    result = CliRunner().invoke(app, ["import-gguf", str(file), str(tmp_path / "model"), "--dtype", "bfloat16"])
    assert result.exception is None, result.exception
    assert "Licence: apache-2.0" in result.output
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="is there and not an empty folder"):
        import_gguf(file, tmp_path / "model")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ConfigError, match="is damaged, or not whole"):
        import_gguf(cut, tmp_path / "other")
    cut.write_text("text")
    with pytest.raises(ConfigError, match="does not begin with GGUF"):
        import_gguf(cut, tmp_path / "other")
    with pytest.raises(ConfigError, match="expected one of float32, bfloat16, float16"):
        import_gguf(file, tmp_path / "other", "int8")
    assert not (tmp_path / "other").exists()
