"""Attention heads of a size that vLLM lacks on a CPU, made larger by zeros that change nothing.

vLLM's attention on a CPU has heads of certain sizes only. A head of size d becomes one of size p by zeros behind each
half of its query and key rows and behind its value rows. Zeros add nothing to `q · k` nor to the output; what else
depends on the size is undone:

    scale        p^(-1/2) (q sqrt(p / d)) · k = d^(-1/2) q · k
    rotary       theta'^(-2i / p) = theta^(-2i / d)   with   theta' = theta^(p / d)

The first needs weights of float32: those of bfloat16 would be rounded anew. Families that normalise queries and keys
over a head are left alone, since the mean would run over the zeros too.
"""

import math
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, float32, nn

from data_contracts.files import read_json, write_json, written_atomically

SIZES_ON_CPU = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Head sizes of vLLM 0.32.0 on a CPU (`CPUAttentionBackend.get_supported_head_sizes`)."""
_FAMILIES = frozenset({"llama", "mistral", "qwen2"})


def padded_size(config: dict[str, Any]) -> int | None:
    """The size to which the heads of a model with this `config.json` are padded; None where they stay as they are."""
    size = _size(config)
    rotary = config.get("rope_parameters") or {"rope_type": "default", "rope_theta": config.get("rope_theta")}
    is_plain = rotary.get("rope_type") == "default" and rotary.get("rope_theta") and not config.get("rope_scaling")
    if size in SIZES_ON_CPU or size % 2 or config.get("model_type") not in _FAMILIES or not is_plain:
        return None
    return next((larger for larger in SIZES_ON_CPU if larger > size), None)


def pad_heads(directory: Path) -> bool:
    """Pad the heads of the model in `directory`, in place; whether there was something to pad.

    Files are replaced, so links are followed for reading alone.
    """
    config = read_json(directory / "config.json")
    if (larger := padded_size(config)) is None:
        return False
    files = {file: load_file(file) for file in sorted(directory.glob("model*.safetensors"))}
    if not all(_is_float32(tensors) for tensors in files.values()):
        return False
    size = _size(config)
    for file, tensors in files.items():
        padded = {name: _padded(name, tensor, size, larger) for name, tensor in tensors.items()}
        with written_atomically(file) as temporary:
            save_file(padded, temporary, metadata={"format": "pt"})
    for where in (config, config.get("rope_parameters") or {}):  # both, where earlier transformers are to read it
        if "rope_theta" in where:
            where["rope_theta"] = float(where["rope_theta"]) ** (larger / size)
    write_json(directory / "config.json", config | {"head_dim": larger})
    return True


def _size(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _is_float32(tensors: dict[str, Tensor]) -> bool:
    return all(tensor.dtype == float32 for name, tensor in tensors.items() if ".self_attn." in name)


def _padded(name: str, tensor: Tensor, size: int, larger: int) -> Tensor:
    """A tensor of a checkpoint `[heads * size, ...]`, for the output projection `[D, heads * size]`, padded."""
    part = name.rpartition(".self_attn.")[2]
    if part.startswith(("q_proj.", "k_proj.")):
        halves = _with_zeros(tensor, size // 2, larger // 2)
        return halves * math.sqrt(larger / size) if part.startswith("q") else halves
    if part.startswith("v_proj."):
        return _with_zeros(tensor, size, larger)
    if part == "o_proj.weight":
        return _with_zeros(tensor.T, size, larger).T.contiguous()
    return tensor


def _with_zeros(rows: Tensor, size: int, larger: int) -> Tensor:
    """Rows in groups of `size`, each with zeros behind it up to `larger`."""
    groups = rows.reshape(-1, size, *rows.shape[1:])
    behind = (0, 0) * (groups.dim() - 2) + (0, larger - size)
    return nn.functional.pad(groups, behind).reshape(-1, *rows.shape[1:])
