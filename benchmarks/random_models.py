"""Models with random weights in the shapes that are measured."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_LLAMA_8B = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
}  # fmt: skip
_QWEN_7B = {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
}  # fmt: skip
_SMALL = {
    "vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8,
    "num_attention_heads": 8, "num_key_value_heads": 4,
}  # fmt: skip
_TINY = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("llama", _TINY),
    "small": ("llama", _SMALL),
    "llama-3.1-8b": ("llama", _LLAMA_8B),
    "qwen2.5-7b": ("qwen2", _QWEN_7B),
}
"""Family and configuration: 3 layers x 32 to try things, 8 layers x 512 for a CPU, the two models of Ye et al. 2025."""


def build_model(shape: str, device: str, dtype: str = "float32") -> PreTrainedModel:
    """A random model, the same for the same shape; made on `device`, so that a large one needs no memory elsewhere."""
    family, settings = SHAPES[shape]
    no_ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    config = AutoConfig.for_model(family, max_position_embeddings=4096, tie_word_embeddings=False, **settings, **no_ids)
    torch.manual_seed(0)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model
