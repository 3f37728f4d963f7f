"""Where each supported model family keeps its parts: one row of a table per `config.model_type`.

The connection needs the decoder without its language-model head, its layers, and in each layer the attention and the
feed-forward block. Eq. 5 of Ye et al. 2025 puts `f_1 + v` in the place of `f_1`, the output of the first layer's
feed-forward block. Where a layer ends with `hidden + f`, adding `v` to the layer's output is the same sum, outside of
what gradient checkpointing recomputes. Where a module stands between the block and the residual (the norm of Gemma 2
and 3 and of OLMo 2, the dropout of Phi-3), it is not: there `v` is added to the block's output itself, in a first
layer that is never recomputed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.config import ActivationSource


@dataclass(frozen=True)
class Family:
    """Attribute paths of one family."""

    decoder: str = "model"  # from the causal language model
    layers: str = "layers"  # from the decoder
    attention: str = "self_attn"  # from one layer
    ffn: str = "mlp"  # from one layer; a dense block or a mixture of experts
    after_ffn: str | None = None  # what the block's output passes before it is added to the residual


_NORMALISED = Family(after_ffn="post_feedforward_layernorm")

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": Family(),
        "qwen2": Family(),
        "qwen3": Family(),
        "mistral": Family(),
        "phi3": Family(after_ffn="resid_mlp_dropout"),
        "gemma2": _NORMALISED,
        "gemma3_text": _NORMALISED,
        "olmo2": _NORMALISED,
        "qwen3_moe": Family(),
        "mixtral": Family(),
    }
)


@dataclass(frozen=True)
class Components:
    """The modules of one loaded model that the connection touches."""

    decoder: nn.Module
    layers: tuple[nn.Module, ...]  # L decoder layers
    attentions: tuple[nn.Module, ...]  # L attention blocks
    ffns: tuple[nn.Module, ...]  # L feed-forward blocks
    after_ffn: nn.Module | None  # of the first layer

    @property
    def injection_site(self) -> nn.Module:
        """The module to whose output `v` is added: the first layer, or its feed-forward block."""
        return self.ffns[0] if self.changes_ffn_output else self.layers[0]

    @property
    def changes_ffn_output(self) -> bool:
        """Whether something between the feed-forward block and the residual changes what is added there."""
        idle = self.after_ffn is None or (isinstance(self.after_ffn, nn.Dropout) and self.after_ffn.p == 0)
        return not idle

    def blocks(self, source: ActivationSource) -> tuple[nn.Module, ...]:
        """The L modules whose outputs are the source's activations, in layer order."""
        return {"ffn": self.ffns, "attention": self.attentions, "block": self.layers}[source]


def find_family(config: PretrainedConfig) -> Family:
    """The table's row for a model configuration, chosen by `config.model_type` and never by a model's name.

    Raises:
        UnsupportedModel: no row for that model type.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UnsupportedModel(
            f"no connection for models of type {config.model_type!r}: known are {', '.join(sorted(FAMILIES))}. "
            "If the family's decoder layers have one attention and one feed-forward block, add a row with its "
            "attribute names, and with the module between that block and the residual if there is one, to FAMILIES in "
            "cc_tuning/model/families.py, and a tiny configuration to the tests in tests/model"
        )
    return family


def find_components(model: PreTrainedModel) -> Components:
    """The decoder, its L layers and their blocks.

    Raises:
        UnsupportedModel: the family is unknown, or the model lacks a part that its family's row names.
    """
    family = find_family(model.config)
    try:
        decoder = model.get_submodule(family.decoder)
        layers = tuple(decoder.get_submodule(family.layers).children())
        attentions = tuple(layer.get_submodule(family.attention) for layer in layers)
        ffns = tuple(layer.get_submodule(family.ffn) for layer in layers)
        after_ffn = layers[0].get_submodule(family.after_ffn) if family.after_ffn and layers else None
    except AttributeError as error:
        raise UnsupportedModel(
            f"a {type(model).__name__} of type {model.config.model_type!r} has not the parts its family should have "
            f"({error}); expected {family}. Load it as a causal language model of the tested transformers version"
        ) from error
    if len(layers) != model.config.num_hidden_layers or not layers:
        raise UnsupportedModel(
            f"found {len(layers)} decoder layers in a {type(model).__name__}, but its config says "
            f"{model.config.num_hidden_layers}; load the whole model, not a part of it"
        )
    return Components(decoder, layers, attentions, ffns, after_ffn)
