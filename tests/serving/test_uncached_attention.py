"""Attention over one prompt without vLLM's cache, against a loop over queries, heads and keys."""

from types import SimpleNamespace

import pytest
import torch
from cc_tuning_vllm.uncached_attention import attend, attending_without_cache
from torch import nn

TOKENS, HEADS, KV_HEADS, SIZE, SCALE = 9, 4, 2, 8, 0.3


@pytest.mark.parametrize("window", [None, 1, 4])
def test_every_query_sees_the_keys_before_it_and_inside_its_window(window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(TOKENS, HEADS * SIZE, generator=generator)
    key, value = torch.randn(2, TOKENS, KV_HEADS * SIZE, generator=generator)
    attention = SimpleNamespace(head_size=SIZE, sliding_window=window, impl=SimpleNamespace(scale=SCALE))
    expected = torch.zeros(TOKENS, HEADS, SIZE)
    for at in range(TOKENS):
        seen = range(max(0, at + 1 - (window or TOKENS)), at + 1)
        for head in range(HEADS):
            shared = head // (HEADS // KV_HEADS)
            part = slice(shared * SIZE, (shared + 1) * SIZE)
            scores = torch.stack([query[at].view(HEADS, SIZE)[head] @ key[other][part] * SCALE for other in seen])
            weights = scores.softmax(0)
            expected[at, head] = sum(weight * value[other][part] for weight, other in zip(weights, seen, strict=True))
    torch.testing.assert_close(attend(attention, query, key, value), expected.flatten(1))


def test_attention_modules_are_as_they_were_behind_the_block() -> None:
    class Cached(nn.Module):
        def forward(self) -> str:
            return "cached"

    module = Cached()
    with pytest.raises(RuntimeError, match="inside"), attending_without_cache([module]):
        raise RuntimeError("inside")
    assert module() == "cached"
