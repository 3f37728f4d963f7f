"""The arithmetic of a step, counted from the model's matrices, and the most that a card can do.

    forward = 2 N T + 4 L H d · T (T + 1) / 2 + 2 D V K      FLOPs of one row

`N` weights of the layers' matrices, `T` tokens, `H` query heads of size `d`, `K` positions with logits. A backward pass
of trained weights is twice that. Only what the result needs is counted: logits of the response, English layers once.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

PEAKS = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 FLOPs a second by NVIDIA's data sheets, by a part of the card's name; the first that fits counts."""


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of rows of equal lengths in the base model."""

    matrices: int
    attention: int
    head: int

    @classmethod
    def of(cls, base: PreTrainedModel) -> "StepFlops":
        """The counts of one model."""
        config = base.config
        linear = [module for module in base.model.layers.modules() if isinstance(module, nn.Linear)]
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            matrices=2 * sum(module.weight.numel() for module in linear),
            attention=4 * config.num_hidden_layers * config.num_attention_heads * head_size,
            head=2 * config.hidden_size * config.vocab_size,
        )

    def layers(self, tokens: int) -> float:
        """A forward pass of one row through the layers."""
        return self.matrices * tokens + self.attention * tokens * (tokens + 1) / 2

    def step(self, tokens: int, response: int, english: int) -> float:
        """A training step of one row of `tokens`, `response` of them labelled, and an English prompt (0: none)."""
        return 3 * (self.layers(tokens) + self.head * response) + self.layers(english)


def peak_flops(dtype: str) -> float | None:
    """Most FLOPs a second of this machine's card in bfloat16; None for other types and unknown cards."""
    if dtype != "bfloat16" or not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS.items() if part in name), None)
