"""Where each supported model family keeps its parts: one row of a table per `config.model_type`.

The connection needs three places: the decoder without its language-model head, the first decoder layer (the vector is
added to its output) and each layer's feed-forward block (its raw output is what is carried over). Adding to the first
layer's output equals adding to `f_1` only where a layer ends with `hidden + mlp(...)`. A family that normalises after
the block (Gemma 2 and 3) has no row here and is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from cc_tuning.errors import UnsupportedModel


@dataclass(frozen=True)
class Family:
    """Attribute paths of one family. `ffn` must name the block whose output is added raw to the residual."""

    decoder: str  # from the causal language model
    layers: str  # from the decoder
    ffn: str  # from one layer


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": Family(decoder="model", layers="layers", ffn="mlp"),
        "qwen2": Family(decoder="model", layers="layers", ffn="mlp"),
    }
)


@dataclass(frozen=True)
class Components:
    """The modules of one loaded model that the connection touches."""

    decoder: nn.Module
    first_layer: nn.Module
    ffns: tuple[nn.Module, ...]  # L blocks, in layer order
    embedding: nn.Module


def find_family(config: PretrainedConfig) -> Family:
    """The table's row for a model configuration, chosen by `config.model_type` and never by a model's name.

    Raises:
        UnsupportedModel: no row for that model type.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UnsupportedModel(
            f"no connection for models of type {config.model_type!r}: known are {', '.join(sorted(FAMILIES))}. "
            "If the family adds each MLP's output to the residual without a norm in between, add a row with its "
            "attribute names to FAMILIES in cc_tuning/model/families.py and to the parity tests in tests/model"
        )
    return family


def find_components(model: PreTrainedModel) -> Components:
    """The decoder, its first layer, its L feed-forward blocks and its input embedding.

    Raises:
        UnsupportedModel: the family is unknown, or the model lacks a part that its family's row names.
    """
    family = find_family(model.config)
    try:
        decoder = model.get_submodule(family.decoder)
        layers = tuple(decoder.get_submodule(family.layers).children())
        ffns = tuple(layer.get_submodule(family.ffn) for layer in layers)
    except AttributeError as error:
        raise UnsupportedModel(
            f"a {type(model).__name__} of type {model.config.model_type!r} has not the parts its family should have "
            f"({error}); expected {family}. Load it as a causal language model of the tested transformers version"
        ) from error
    if len(ffns) != model.config.num_hidden_layers or not ffns:
        raise UnsupportedModel(
            f"found {len(ffns)} decoder layers in a {type(model).__name__}, but its config says "
            f"{model.config.num_hidden_layers}; load the whole model, not a part of it"
        )
    return Components(decoder, layers[0], ffns, model.get_input_embeddings())
