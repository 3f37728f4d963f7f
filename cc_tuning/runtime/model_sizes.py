"""Whether a model is as large as its config.json says, told from the headers of its weights.

A config is a claim: of a billion layers, or of a vocabulary that is not there. Building what it claims can take all
memory, or hours, before anything fails; the headers say in milliseconds what there is.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_EMBEDDINGS = ("embed_tokens.weight", "shared.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_WIDTHS = ("hidden_size", "d_model", "n_embd")
_LAYER_COUNTS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "n_layer")
_COUNTS = ("vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")


def faults_of_sizes(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """What `config` says that the tensors of `shapes`, by their names, contradict; nothing where they agree."""
    wrong = [key for key in (*_WIDTHS, *_LAYER_COUNTS, *_COUNTS) if not _is_count(config.get(key))]
    for key in wrong:
        yield f"config.json says {key} is {str(config[key])[:60]!r}, expected a number from 1 on"
    if wrong:
        return
    embedding = next((name for name in sorted(shapes) if name.endswith(_EMBEDDINGS)), None)
    if embedding is not None and len(shapes[embedding]) == 2:
        rows, width = shapes[embedding]
        has_own_width = "word_embed_proj_dim" in config  # OPT's narrow embeddings
        claimed = {"vocab_size": rows} | ({} if has_own_width else dict.fromkeys(_WIDTHS, width))
        for key, found in claimed.items():
            if isinstance(config.get(key), int) and config[key] != found:
                yield f"config.json says {key} is {config[key]:,}, but {embedding} has {found:,}; restore either"
    indices = {int(match[1]) for name in shapes if (match := _LAYER.search(name))}
    layers = max(indices, default=-1) + 1
    for key in _LAYER_COUNTS:
        if layers and isinstance(config.get(key), int) and config[key] > layers:
            yield f"config.json says {key} is {config[key]:,}, but there are weights of {layers:,}; restore either"


def _is_count(value: Any) -> bool:
    """Whether a value can be a count; what a config leaves out or gives by layer is for transformers to judge."""
    if value is None or isinstance(value, list):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31
