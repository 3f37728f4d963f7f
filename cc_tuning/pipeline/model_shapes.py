"""How large a model is, as far as a plan can know before anything is downloaded.

A directory says it by its config and the headers of its weights; the embedded default by the recipe; a hub id by the
number in its name, and by the shape that models of that size have.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig
from cc_tuning.pipeline.recipe import MINIATURE, Recipe
from cc_tuning.runtime.weight_files import WeightFiles, json_value

_PARAMETERS_IN_NAME = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z0-9])", re.IGNORECASE)
_WIDTH_OF_A_LAYER = 128
"""D / L of Llama 3.1 8B (4,096 / 32) and Qwen 2.5 7B (3,584 / 28)."""


@dataclass(frozen=True)
class ModelShape:
    """What arithmetic and memory of a model follow from."""

    parameters: int
    layers: int
    """Decoder layers; of an encoder and a decoder together where there are both."""
    hidden_size: int
    key_value_size: int
    """Numbers that a layer keeps of a token as its key; as many as its value."""


def parameters_of(place: str) -> int | None:
    """The number of parameters of a model, from its name or its folder's weights; None when neither tells."""
    folder = Path(place)
    if folder.is_dir():
        return sum(map(math.prod, WeightFiles(folder).shapes.values())) or None
    found = _PARAMETERS_IN_NAME.search(place.rsplit("/", 1)[-1])
    if not found:
        return None
    return int(float(found[1]) * (1e9 if found[2].lower() == "b" else 1e6))


def base_shape(recipe: Recipe) -> ModelShape | None:
    """The shape of the base model; None where nothing tells it."""
    return _of_miniature(recipe.miniature.base_model) if recipe.model.base == MINIATURE else shape_of(recipe.model.base)


def translator_shape(recipe: Recipe) -> ModelShape | None:
    """The shape of the translator; None where nothing tells it."""
    place = recipe.translation.model
    return _of_miniature(recipe.miniature.translator) if place == MINIATURE else shape_of(place)


@cache
def shape_of(place: str) -> ModelShape | None:
    """The shape of the model at a directory or hub id; None where neither name nor weights tell its size.

    Where no config is at hand: `P = 12 L D²` (Kaplan et al. 2020, arXiv 2001.08361, table 1, without embeddings) with
    `D = 128 L`, and a quarter of the width for keys, as grouped-query attention has it.
    """
    parameters = parameters_of(place)
    if parameters is None:
        return None
    config = json_value(Path(place) / "config.json") if Path(place).is_dir() else None
    sizes: dict[str, Any] = {**config, **config.get("text_config", {})} if isinstance(config, dict) else {}
    layers = max(1, round((parameters / (12 * _WIDTH_OF_A_LAYER**2)) ** (1 / 3)))
    layers = _count(sizes, "num_hidden_layers") or _of_both_halves(sizes) or layers
    hidden = _count(sizes, "hidden_size") or _count(sizes, "d_model") or _WIDTH_OF_A_LAYER * layers
    heads = _count(sizes, "num_attention_heads") or 1
    head_size = _count(sizes, "head_dim") or hidden // heads
    groups = _count(sizes, "num_key_value_heads")
    return ModelShape(parameters, layers, hidden, groups * head_size if groups else hidden if sizes else hidden // 4)


def _of_both_halves(sizes: dict[str, Any]) -> int:
    return _count(sizes, "encoder_layers") + _count(sizes, "decoder_layers")


def _count(sizes: dict[str, Any], key: str) -> int:
    value = sizes.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _of_miniature(config: BaseModelConfig | TranslatorConfig) -> ModelShape:
    hidden = config.hidden_size
    is_translator = isinstance(config, TranslatorConfig)
    layers = config.layers * (2 if is_translator else 1)
    layer = (6 if is_translator else 4) * hidden**2 + (2 if is_translator else 3) * hidden * config.intermediate_size
    return ModelShape(config.vocabulary_size * hidden + layers * layer, layers, hidden, hidden)
