"""Model directories that the transformers before version 5 reads as well, with equal logits.

Version 5 writes what it knows of rotary positions as `rope_parameters`, which version 4 passes over without a word: it
takes 10,000 as the base and scales nothing, so that a Llama 3 model answers nonsense. And the tokenizer class that
version 5 writes does not exist in version 4. The earlier keys stand beside the new ones here. Both say the same, which
is checked when they are written: where the current version would read anything else, the file stays as it was.
"""

import json
import logging
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from data_contracts.files import write_json

logger = logging.getLogger(__name__)

_CONFIG, _TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
_FULL, _SLIDING = "full_attention", "sliding_attention"
# Version 4 keeps these beside the scaling, not in it.
_BESIDE_SCALING = ("rope_theta", "partial_rotary_factor")
_RENAMED = {"qwen3_moe": {"num_experts": "num_local_experts"}}
"""By type of model: the earlier name of a key, and its name now."""
_STRICT = {"phi3": ("short_factor", "long_factor"), "olmo2": ("factor",)}
"""Types of models of which version 4 reads a scaling with these keys and `type`, and refuses any other."""


def write_earlier_config_keys(directory: Path) -> None:
    """Add `rope_theta`, `rope_scaling` and what else had another name to the config.json of `directory`."""
    path = directory / _CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {old: config[new] for old, new in _RENAMED.get(config.get("model_type"), {}).items() if new in config}
    earlier = _earlier_rotary_keys(config.get("rope_parameters") or {}, config.get("model_type"))
    before = _read_again(directory)
    write_json(path, config | earlier)
    if _read_again(directory) != before:
        write_json(path, config)
        logger.warning(
            "%s: transformers before version 5 cannot be told the rotary positions of type %s; it reads this model "
            "wrongly",
            path,
            config["rope_parameters"].get("rope_type"),
        )


def write_earlier_tokenizer_keys(directory: Path) -> None:
    """Name the tokenizer of `directory` by a class, and its further control tokens by a key, of either version."""
    path = directory / _TOKENIZER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    write_json(path, config)


def _earlier_rotary_keys(parameters: dict[str, Any], model_type: str | None) -> dict[str, Any]:
    """What version 4 calls the rotary `parameters`, of a model with one kind of layers or with two (Gemma 3)."""
    if _FULL in parameters:
        local = (parameters.get(_SLIDING) or {}).get("rope_theta")
        beside = {} if local is None else {"rope_local_base_freq": local}
        return _earlier_rotary_keys(parameters[_FULL] or {}, model_type) | beside
    keys = {name: parameters[name] for name in _BESIDE_SCALING if name in parameters}
    kind = parameters.get("rope_type", "default")
    if kind != "default" and model_type in _STRICT:
        scaling = {name: parameters[name] for name in _STRICT[model_type] if name in parameters}
        keys["rope_scaling"] = scaling | {"type": kind}
    elif kind != "default":
        keys["rope_scaling"] = {name: value for name, value in parameters.items() if name not in _BESIDE_SCALING}
    return keys


def _read_again(directory: Path) -> Any:
    """The rotary parameters as the current version reads them."""
    config: Any = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    return _without_type(getattr(config, "rope_parameters", None))


def _without_type(parameters: Any) -> Any:
    """`parameters` without `type`, which the current version keeps beside `rope_type` where it is written."""
    if not isinstance(parameters, dict):
        return parameters
    return {name: _without_type(value) for name, value in parameters.items() if name != "type"}
