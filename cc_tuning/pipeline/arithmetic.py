"""Floating-point operations, bytes and memory of what models do: every formula of the cost model, with its source.

`P` parameters, `N` tokens, `L` layers, `D` hidden size, `B` sequences at once, `R` rows. A multiplication and an
addition are 2 operations. Attention's own share, norms and padding are left out: some per cent at the paper's lengths.
`cc_tuning/training/flops.py` counts the matrices of a family one by one, for the utilisation that training logs.
"""

from typing import Literal

from cc_tuning.pipeline.model_shapes import ModelShape

BYTES_OF = {"float32": 4, "bfloat16": 2, "float16": 2}
LOGIT_COPIES = 4  # float32 tensors of the size of the logits (docs/performance.md, the head)
_LAYER_ACTIVATIONS = 34  # bytes of a token and a hidden unit in 16 bits (Korthikanti et al. 2022, table 2)
_LINEAR_SIDES = 22  # D in and out of a layer's seven matrices: 8 of attention, 3 times (1 + 3.5) of feed-forward


def forward_flops(parameters: float, tokens: float) -> float:
    """`2 P N` (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""
    return 2 * parameters * tokens


def training_flops(
    parameters: float, tokens: float, english_tokens: float, trained_share: float = 1.0, *, recomputed: bool = False
) -> float:
    """`(4 + 2 t) P N`, with `2 P N` more where activations are recomputed, and `2 P N_en` for English prompts.

    A forward pass, a backward pass through all weights, and as much again for the gradients of the share `t` that is
    trained: `6 P N` of full fine-tuning (Kaplan et al. 2020), `4 P N` of LoRA. The English pass of the connection has
    no gradient (Ye et al. 2025, section 3.2.1; docs/performance.md, a training step).
    """
    per_token = 4 + 2 * trained_share + (2 if recomputed else 0)
    return per_token * parameters * tokens + forward_flops(parameters, english_tokens)


def state_bytes(
    shape: ModelShape, dtype: str, optimizer: Literal["adamw", "adafactor"], lora_rank: int, shards: int = 1
) -> float:
    """Weights, gradients and optimizer state of one device.

    Full fine-tuning holds float32: weight 4, gradient 4, two moments of AdamW 8 bytes a parameter (Rajbhandari et al.
    2020, arXiv 1910.02054, section 3.1, for float32), none of Adafactor; arithmetic in bfloat16 copies each weight once
    more for the length of a pass, 2 bytes. LoRA holds the base weights in `dtype`, and float32 adapters of `22 r D L`
    numbers with 16 bytes each. `shards` devices share all but the copies, of which each holds those of two layers.
    """
    if lora_rank:
        adapters = 16 * lora_rank * _LINEAR_SIDES * shape.hidden_size * shape.layers
        return (BYTES_OF[dtype] * shape.parameters + adapters) / shards
    held = (16 if optimizer == "adamw" else 8) * shape.parameters
    if shards > 1:
        return held / shards + 2 * BYTES_OF[dtype] * shape.parameters / shape.layers
    return held + (2 * shape.parameters if dtype != "float32" else 0)


def activation_bytes(shape: ModelShape, dtype: str, tokens: float, *, recomputed: bool) -> float:
    """What a forward pass of `tokens` keeps for the backward pass, twice as much in float32.

    `34 N D L` without, `2 N D L + 34 N D` with recomputed layers (Korthikanti et al. 2022, arXiv 2205.05198, equation 2
    and section 5; the quadratic term of attention falls away with fused attention).
    """
    layer = _LAYER_ACTIVATIONS * tokens * shape.hidden_size
    kept = layer + 2 * tokens * shape.hidden_size * shape.layers if recomputed else layer * shape.layers
    return kept * BYTES_OF[dtype] / 2


def key_value_bytes(shape: ModelShape, dtype: str, tokens: float) -> float:
    """`2 L D_kv N`: a key and a value a layer and token (Pope et al. 2022, arXiv 2211.05102, section 3.3)."""
    return 2 * shape.layers * shape.key_value_size * BYTES_OF[dtype] * tokens


def fit_flops(rows: float, hidden_size: float) -> float:
    """`3 R D² + D³/3 + 2 D³` in float64: sums of products, Cholesky, solution (docs/performance.md)."""
    return 3 * rows * hidden_size**2 + (1 / 3 + 2) * hidden_size**3


def optimizer_bytes(parameters: float) -> float:
    """Read and written by a step of AdamW: 28 bytes a parameter (docs/performance.md, a training step)."""
    return 28 * parameters
