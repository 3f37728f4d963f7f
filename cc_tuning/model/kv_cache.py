"""A KV cache that forgets the last tokens it took in, so that they can be read again with other activations.

transformers can take tokens back from its growing caches only (`crop`). Here that works for the static ones as well,
whose buffers must stay where they are for compiled decoding: there a shorter sequence is a smaller length, and what
lies behind it is overwritten.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import Cache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, StaticLayer, StaticSlidingWindowLayer

from cc_tuning.errors import ConfigError

# Exactly these: what is derived from them (quantized layers, say) may keep its tokens elsewhere.
_KINDS = (DynamicLayer, DynamicSlidingWindowLayer, StaticLayer, StaticSlidingWindowLayer)


@contextmanager
def forgetting_last_tokens(cache: Cache, count: int = 1) -> Iterator[None]:
    """`cache` with all that is read inside the block except the last `count` tokens of it.

    Raises:
        ConfigError: a cache of a kind that cannot give back a token, or a static one that cannot give back several.
    """
    _check_kind(cache)
    # A sliding window that is full drops its oldest token for each new one, unless it is told to keep it.
    windows = [layer for layer in cache.layers if isinstance(layer, DynamicSlidingWindowLayer)]
    kept = [layer.record_past for layer in windows]
    cache.activate_past_recording()
    yield
    for layer in cache.layers:
        _forget_last_tokens(layer, count)
    # Otherwise decoding would keep all of its tokens, too.
    for layer, record_past in zip(windows, kept, strict=True):
        layer.record_past = record_past


def _check_kind(cache: Cache) -> None:
    unknown = {type(layer).__name__ for layer in cache.layers if type(layer) not in _KINDS}
    if unknown or cache.offloading:
        kind = ", ".join(sorted(unknown)) or "offloaded layers"
        raise ConfigError(
            f"a connected prompt is read into a KV cache that can give back its last token; got a "
            f"{type(cache).__name__} of {kind}. Use cache_implementation='dynamic' (the default) or 'static', or "
            "generate with connection='off'"
        )


def _forget_last_tokens(layer: object, count: int) -> None:
    if isinstance(layer, DynamicLayer):
        layer.crop(-count)
        return
    assert isinstance(layer, StaticLayer) and layer.keys is not None and layer.values is not None
    if isinstance(layer, StaticSlidingWindowLayer):
        window_had_passed = layer.cumulative_length_int > layer.max_cache_len
        if window_had_passed and count > 1:
            raise ConfigError(
                f"a static cache whose sliding window of {layer.max_cache_len} tokens is full cannot give back "
                f"{count} tokens: those that they moved out are lost. Use cache_implementation='dynamic' (the default) "
                "for prompts beyond the window with connection.positions above 1"
            )
        layer.cumulative_length_int -= count
        if window_had_passed:
            # The window of W tokens moves back by one. Its first place is not read again: the next token, which
            # attends to the W - 1 before it, moves it out.
            layer.keys.copy_(layer.keys.roll(1, dims=-2))
            layer.values.copy_(layer.values.roll(1, dims=-2))
            return
    layer.cumulative_length.sub_(count)
