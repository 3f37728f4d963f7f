"""Attention over one whole prompt that neither reads nor writes vLLM's key-value cache.

An English prompt beside a request has no blocks in the cache: the scheduler does not know of it. It is read once, up
to its t*, for the activations there, and nothing is decoded behind it; so plain causal attention over its own tokens
is all it needs. Everything else of a layer is vLLM's, tensor parallelism included.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def attending_without_cache(attentions: Sequence[nn.Module]) -> Iterator[None]:
    """vLLM's attention modules compute `attend` inside the block; a pass holds one sequence from its first token on."""
    for attention in attentions:
        attention.forward = partial(attend, attention)
    try:
        yield
    finally:
        for attention in attentions:
            del attention.forward


def attend(attention: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    """The output `[T, heads * size]` for `query [T, heads * size]` and `key, value [T, kv_heads * size]`."""
    tokens = query.shape[0]
    query, key, value = (
        part.view(tokens, -1, attention.head_size).transpose(0, 1).unsqueeze(0) for part in (query, key, value)
    )
    places = torch.arange(tokens, device=query.device)
    distance = places[:, None] - places
    mask = distance >= 0
    if attention.sliding_window is not None:
        mask &= distance < attention.sliding_window
    output = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=attention.impl.scale, enable_gqa=True
    )
    return output[0].transpose(0, 1).reshape(tokens, -1)
