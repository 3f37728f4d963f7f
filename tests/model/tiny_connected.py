"""Tiny random models of each family and a batch for them."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from cc_tuning.model import ConnectionConfig, CrossLingualModel

HIDDEN, LAYERS, VOCABULARY = 32, 3, 97

_SLIDING = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 6, "head_dim": 8},
    "phi3": {},
    "gemma2": _SLIDING | {"head_dim": 8, "query_pre_attn_scalar": 8, "attn_implementation": "eager"},
    "gemma3_text": _SLIDING | {"head_dim": 8, "query_pre_attn_scalar": 8},
    "olmo2": {},
    "qwen3_moe": _EXPERTS | {"head_dim": 8},
    "mixtral": _EXPERTS | {"head_dim": 8},
}
"""Every supported `model_type`, with what a tiny configuration of it needs beside the sizes; windows are shorter than
the prompts, so that they matter."""


def tiny_base(family: str, **changes: object) -> PreTrainedModel:
    """A seeded random causal language model: 3 layers, hidden size 32, weights large enough to tell layers apart."""
    torch.manual_seed(7)
    config = AutoConfig.for_model(
        family,
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "intermediate_size": 48,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": 0,
            "tie_word_embeddings": False,
        }
        | FAMILIES.get(family, {})
        | changes,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def tiny_model(family: str, connection: ConnectionConfig | None = None, **changes: object) -> CrossLingualModel:
    """`tiny_base` with a connection and a random Transform Matrix, in evaluation mode."""
    model = CrossLingualModel.from_base(tiny_base(family, **changes), connection or ConnectionConfig())
    model.set_transform_matrix(torch.randn(HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(1)) / HIDDEN**0.5)
    return model.eval()


def left_padded(rows: list[list[int]], padding: int = 0) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` [B, T] of token-id rows."""
    width = max(map(len, rows)) + padding
    return {
        "input_ids": torch.tensor([[0] * (width - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
    }


def random_prompts(lengths: tuple[int, ...] = (5, 11, 8), seed: int = 3) -> list[list[int]]:
    """Rows of token ids of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def training_batch(rows: int = 3, offset: int = 0) -> dict[str, torch.Tensor]:
    """A right-padded batch as `CrossLingualModel.forward` takes it: prompts of different lengths and responses."""
    prompts = random_prompts((5, 11, 8)[:rows])
    responses = random_prompts((6, 2, 4)[:rows], seed=4)
    english = random_prompts((7, 4, 9)[:rows], seed=5)
    width, english_width = 16, 9
    whole = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    labels = [[-100] * len(p) + r for p, r in zip(prompts, responses, strict=True)]

    def pad(rows: list[list[int]], width: int, value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    return {
        "input_ids": pad(whole, width, 0),
        "attention_mask": pad([[1] * len(row) for row in whole], width, 0),
        "labels": pad(labels, width, -100),
        "connection_positions": torch.tensor([len(prompt) - 1 - offset for prompt in prompts]),
        "english_input_ids": pad(english, english_width, 0),
        "english_attention_mask": pad([[1] * len(row) for row in english], english_width, 0),
        "english_positions": torch.tensor([len(row) - 1 - offset for row in english]),
    }


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Each supported `model_type`."""
    return str(request.param)
