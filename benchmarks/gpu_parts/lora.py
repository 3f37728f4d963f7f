"""Adapters by peft, for a machine that has it (Hu et al. 2021): imported only there."""

from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel

RANK = 16


def add_adapters(base: PreTrainedModel) -> None:
    """Put a float32 adapter beside every linear layer of `base`, in place; its own weights no longer train."""
    get_peft_model(base, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What still has a gradient."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
