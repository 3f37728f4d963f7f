"""Prefix caching that knows the connection: a block that holds t* is another block than one with the same tokens.

Keys and values of t*, and of all tokens behind it, depend on the vector added there. vLLM finds cached blocks by a
chain of hashes over tokens and extra keys. A connected request's block with t* gets an extra key that says how it is
connected and where t* is; by the chain, all blocks behind it differ with it. Blocks before t* are shared by all
requests, connected or not.
"""

from functools import wraps
from typing import Any

from vllm.v1.core import block_pool, kv_cache_utils

from cc_tuning_vllm.request_mode import RequestMode

_NAME = "generate_block_hash_extra_keys"


def key_blocks_by_connection() -> None:
    """Give the blocks that hold t* their key, in this process."""
    original = getattr(kv_cache_utils, _NAME)
    if getattr(original, "connects", False):
        return

    @wraps(original)
    def with_connection(request: Any, start: int, end: int, *args: Any) -> tuple[tuple[Any, ...] | None, int]:
        keys, place = original(request, start, end, *args)
        mode = RequestMode.told(request.sampling_params)
        if mode is None or not start <= mode.token < end:
            return keys, place
        return (*(keys or ()), ("cc_tuning", f"{mode.mode} at {mode.token}")), place

    with_connection.connects = True
    for module in (kv_cache_utils, block_pool):
        setattr(module, _NAME, with_connection)
