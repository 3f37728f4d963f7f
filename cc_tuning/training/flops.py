"""The arithmetic a training step asks for, from the model's configuration, and what a device can do at most.

Of one token, forward (a multiplication and an addition are 2 FLOPs; `D` hidden size, `H` heads and `K` key-value heads
of size `d`, `I` the feed-forward block's width, `E` experts that a token passes, 1 without experts, `V` vocabulary):

    linear    = 2 L (2 D H d + 2 D K d + 3 E D I)           the matrices of the layers, gated feed-forward
    attention = 4 L H d                                     per key that its query attends, full causal attention
    head      = 2 D V                                       on positions that have a label

A sequence of `T` tokens has `T (T + 1) / 2` pairs of query and key. A backward pass costs twice its forward pass where
all weights are trained, once where none are (LoRA). What is recomputed under gradient checkpointing is not counted, nor
is padding: it is arithmetic the result does not need. Norms, activations, embeddings and the connection itself are left
out: they add up to less than a per cent.
"""

from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from cc_tuning.runtime.device_table import device_named
from cc_tuning.training.collators import TokenCounts

SECONDS_OF_A_PASS = 0.05
"""What a forward and a backward pass take on a GPU however few rows they have: their kernels are started one by one.
A third of the 0.15 seconds that a micro-batch took on an H100 that trained three models of 0.3 billion weights at once;
one alone was not measured."""
TYPICAL_GPU_FLOPS = 150e12  # where no data sheet is known
TYPICAL_MFU = 0.4


@dataclass(frozen=True)
class ModelFlops:
    """Forward FLOPs of one model; `trained_share` of its layers' weights have a gradient."""

    linear: int  # per token
    attention: int  # per pair of query and key
    head: int  # per position with logits
    trained_share: float = 1.0
    passes: int = 1  # of a training sequence through the model, each with its gradient

    def of(self, counts: TokenCounts) -> float:
        """What training the counted rows needs, English prompts included (they have a forward pass alone)."""
        forward = self.linear * counts.tokens + self.attention * (counts.squares + counts.tokens) / 2
        head = self.head * counts.labels
        pairs = (counts.english_squares + counts.english_tokens) / 2
        english = self.linear * counts.english_tokens + self.attention * pairs
        return (2 + self.trained_share) * self.passes * (forward + head) + english


def flops_of_model(config: PretrainedConfig, trained_share: float = 1.0, passes: int = 1) -> ModelFlops:
    """The FLOPs of a decoder with gated feed-forward blocks, dense or with experts, by the formulas above.

    `passes` is how often a training sequence goes through it.
    """
    hidden, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or hidden // heads
    key_value_heads = getattr(config, "num_key_value_heads", None) or heads
    experts = getattr(config, "num_experts_per_tok", None)
    width = (getattr(config, "moe_intermediate_size", None) if experts else None) or config.intermediate_size
    attention_weights = 2 * hidden * head_size * (heads + key_value_heads)
    feed_forward_weights = 3 * hidden * width * (experts or 1)
    return ModelFlops(
        linear=2 * layers * (attention_weights + feed_forward_weights),
        attention=4 * layers * heads * head_size,
        head=2 * hidden * config.vocab_size,
        trained_share=trained_share,
        passes=passes,
    )


def peak_flops(device: torch.device, dtype: str) -> float | None:
    """Most FLOPs a second of a device in bfloat16, or None where no data sheet is known (CPUs, other types)."""
    if device.type != "cuda" or dtype != "bfloat16":
        return None
    found = device_named(torch.cuda.get_device_name(device))
    return found.flops["bfloat16"] if found else None


def tokens_of_a_pass(flops: ModelFlops, device: torch.device) -> float:
    """What a micro-batch costs beside its tokens, in tokens that could be trained meanwhile; 0 on a CPU.

    Some hundred for 8 billion weights on an H100, and tens of thousands for 0.3 billion.
    """
    if device.type != "cuda":
        return 0.0
    speed = TYPICAL_MFU * (peak_flops(device, "bfloat16") or TYPICAL_GPU_FLOPS)
    return SECONDS_OF_A_PASS * speed / ((2 + flops.trained_share) * flops.linear)
