"""Prefix caching that knows the connection: a block that holds t* is another block than one with the same tokens.

Keys and values of t*, and of all tokens behind it, depend on the vector added there. vLLM finds cached blocks by a
chain of hashes over tokens and extra keys. A connected request's block with t* gets an extra key that says how it is
connected and where t* is; by the chain, all blocks behind it differ with it. Blocks before t* are shared by all
requests, connected or not.
"""

from typing import Any

from vllm.v1.core import block_pool, kv_cache_utils

from cc_tuning_vllm.patching import replace_once
from cc_tuning_vllm.request_mode import RequestMode


def key_blocks_by_connection() -> None:
    """Give the blocks that hold t* their key, in this process."""
    for module in (kv_cache_utils, block_pool):  # the second one has imported the function by its name
        replace_once(module, "generate_block_hash_extra_keys", _with_connection)


def _with_connection(
    generate_keys: Any, request: Any, start_token_idx: int, end_token_idx: int, start_mm_idx: int
) -> tuple[tuple[Any, ...] | None, int]:
    keys, place = generate_keys(request, start_token_idx, end_token_idx, start_mm_idx)
    mode = RequestMode.told(request.sampling_params)
    if mode is None or not start_token_idx <= mode.token < end_token_idx:
        return keys, place
    return (*(keys or ()), ("cc_tuning", mode.cache_key)), place
