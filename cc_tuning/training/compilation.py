"""torch.compile for training: the blocks of each decoder layer, one graph for all layers.

A layer's attention, feed-forward block and norms are compiled, the layer and what hooks do on its parts are not: hooks
come and go with every pass (English, connected), and inside a compiled region each new one would either be ignored or
compile everything again. The residual sums between the blocks stay as they are.
"""

import torch
from torch import nn
from transformers import PreTrainedModel


def compile_blocks(base: PreTrainedModel, backend: str = "inductor") -> None:
    """Compile `forward` of each child of each decoder layer in place; lengths may vary without a new graph."""
    for layer in _decoder_layers(base):
        for block in layer.children():
            block.forward = torch.compile(block.forward, backend=backend, dynamic=True)


def _decoder_layers(base: PreTrainedModel) -> list[nn.Module]:
    names = set(base._no_split_modules or ())
    return [module for module in base.modules() if type(module).__name__ in names]
