"""How long a device takes for what a model is asked: arithmetic, bytes, and passes of a fixed price.

Each time is the largest of the three: a roofline (Williams et al. 2009, doi 10.1145/1498765.1498785) with a floor.
"""

import math

from cc_tuning.pipeline.arithmetic import BYTES_OF, forward_flops, key_value_bytes
from cc_tuning.pipeline.model_shapes import ModelShape
from cc_tuning.runtime.device_table import Device

LOADED_BYTES_PER_SECOND = 1e9  # of weights from a disk; an assumption
START_SECONDS = 4.0
"""Until a worker process has imported torch and transformers, on two cores; the embedded default's evaluation."""
SEGMENT_TOKENS = 32  # of a sentence; an assumption


def loading_seconds(shape: ModelShape, dtype: str) -> float:
    """Until a process holds the weights."""
    return START_SECONDS + BYTES_OF[dtype] * shape.parameters / LOADED_BYTES_PER_SECOND


def reading_seconds(shape: ModelShape, dtype: str, device: Device, tokens: float, passes: float) -> float:
    """Of prompts of `tokens` in all, in `passes` batches: a forward pass each."""
    return max(forward_flops(shape.parameters, tokens) / device.speed(dtype), passes * device.pass_seconds)


def decoding_seconds(
    shape: ModelShape, dtype: str, device: Device, sequences: int, tokens_before: float, new_tokens: float
) -> float:
    """Of `new_tokens` steps of a batch of `sequences`, each of which reads all weights and what is kept of tokens."""
    kept = key_value_bytes(shape, dtype, sequences * (tokens_before + new_tokens / 2))
    moved = (BYTES_OF[dtype] * shape.parameters + kept) / device.bytes_per_second
    counted = forward_flops(shape.parameters, sequences) / device.speed(dtype)
    return new_tokens * max(device.pass_seconds, moved, counted)


def answering_seconds(
    shape: ModelShape, dtype: str, device: Device, prompts: float, prompt_tokens: float, new_tokens: float, batch: int
) -> float:
    """Of `prompts` on one device: read, and answered with `new_tokens` tokens each, `batch` at a time."""
    batches = math.ceil(prompts / batch)
    reading = reading_seconds(shape, dtype, device, prompts * prompt_tokens, batches)
    return reading + batches * decoding_seconds(shape, dtype, device, batch, prompt_tokens, new_tokens)


def translating_seconds(
    shape: ModelShape, dtype: str, device: Device, tokens: float, batch_tokens: int, beams: int
) -> float:
    """Of `tokens` of sentences on one device; an encoder and a decoder have half of the parameters each."""
    half = ModelShape(shape.parameters // 2, max(1, shape.layers // 2), shape.hidden_size, shape.key_value_size)
    batches = math.ceil(tokens / batch_tokens)
    reading = reading_seconds(half, dtype, device, tokens, batches)
    sequences = max(1, batch_tokens // SEGMENT_TOKENS) * beams
    return reading + batches * decoding_seconds(half, dtype, device, sequences, 0, SEGMENT_TOKENS)
