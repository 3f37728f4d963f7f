"""Where each supported model family keeps its parts: one row of a table per `config.model_type`.

The connection needs the decoder without its language-model head, its layers, and in each layer the attention and the
feed-forward block. Eq. 5 of Ye et al. 2025 puts `f_1 + v` in the place of `f_1`, what the first layer's feed-forward
block adds to the residual. So `f_l` is what a block contributes there: its output, or what a norm makes of it where one
stands between the two (Gemma 2 and 3, OLMo 2). Before that norm, `v` would be one or two orders of magnitude weaker
beside the residual than in Llama. Since a layer ends with `hidden + f`, `v` is added to the layer's output, outside of
what gradient checkpointing recomputes.

`connection.site: block_output` is the variant that reads and adds before the norm; there the addition is inside of the
layer, which is then never recomputed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.config import ActivationSource, Site


@dataclass(frozen=True)
class Family:
    """Attribute paths of one family."""

    decoder: str = "model"  # from the causal language model
    layers: str = "layers"  # from the decoder
    attention: str = "self_attn"  # from one layer
    ffn: str = "mlp"  # from one layer; a dense block or a mixture of experts
    after_attention: str | None = None  # what the block's output passes before it is added to the residual
    after_ffn: str | None = None


_NORMALISED = Family(after_attention="post_attention_layernorm", after_ffn="post_feedforward_layernorm")

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": Family(),
        "qwen2": Family(),
        "qwen3": Family(),
        "mistral": Family(),
        "phi3": Family(after_attention="resid_attn_dropout", after_ffn="resid_mlp_dropout"),
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
    after_attentions: tuple[nn.Module, ...]  # what their outputs pass before the residual: L modules, or none
    after_ffns: tuple[nn.Module, ...]
    site: Site

    @property
    def injection_sites(self) -> tuple[nn.Module, ...]:
        """The L modules to whose outputs `v` can be added: the layers, or their feed-forward blocks."""
        return self.ffns if self.injects_inside_layer else self.layers

    @property
    def injects_inside_layer(self) -> bool:
        """Whether `v` is added before something that changes what the feed-forward block adds to the residual."""
        is_idle = all(isinstance(module, nn.Dropout) and module.p == 0 for module in self.after_ffns)
        return self.site == "block_output" and not is_idle

    def blocks(self, source: ActivationSource) -> tuple[nn.Module, ...]:
        """The L modules whose outputs are the source's activations at the site, in layer order."""
        if source == "block":
            return self.layers
        own, after = {
            "ffn": (self.ffns, self.after_ffns),
            "attention": (self.attentions, self.after_attentions),
        }[source]
        return after if after and self.site == "contribution" else own


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


def find_components(model: PreTrainedModel, site: Site = "contribution") -> Components:
    """The decoder, its L layers and their blocks, to be read and changed at `site`.

    Raises:
        UnsupportedModel: the family is unknown, or the model lacks a part that its family's row names.
    """
    family = find_family(model.config)
    try:
        decoder = model.get_submodule(family.decoder)
        layers = tuple(decoder.get_submodule(family.layers).children())
        attentions = tuple(layer.get_submodule(family.attention) for layer in layers)
        ffns = tuple(layer.get_submodule(family.ffn) for layer in layers)
        after_attentions, after_ffns = (
            tuple(layer.get_submodule(path) for layer in layers) if path else ()
            for path in (family.after_attention, family.after_ffn)
        )
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
    return Components(decoder, layers, attentions, ffns, after_attentions, after_ffns, site)
