"""The connection behind the forward pass of a step, in vLLM's V1 model runner.

The runner's `_model_forward` is the one place that has the step's requests, its attention context and the model's
output together, and is made to be overridden. Which runner class a worker uses depends on the platform, so the method
is wrapped in their common base class, once, and only when a connected model is built in this process. Runs that
profile memory or capture graphs call the model itself and are not connected.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm.config import CUDAGraphMode
from vllm.forward_context import ForwardContext, get_forward_context, override_forward_context
from vllm.v1.attention.backend import CommonAttentionMetadata
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from cc_tuning_vllm.patching import replace_once
from cc_tuning_vllm.request_mode import RequestMode
from cc_tuning_vllm.rereading import FirstReading, Rows
from cc_tuning_vllm.suffix_rows import Integers, SuffixRows, key_of_tokens


def connect_model_runner() -> None:
    """Make every runner of this process connect the models that have a connection."""
    replace_once(GPUModelRunner, "_model_forward", _forward_connected)


def _forward_connected(
    forward: Any, runner: GPUModelRunner, *, input_ids: Tensor, positions: Tensor, **named: Any
) -> Any:
    model = runner.get_model()
    step = _connected_part(runner, model, input_ids.device) if hasattr(model, "connected_states") else None
    if step is None:
        return forward(runner, input_ids=input_ids, positions=positions, **named)
    with _watched(model, step) as first:
        states = forward(runner, input_ids=input_ids, positions=positions, **named)
    _connect(runner, model, step, first, input_ids, positions, states)
    return states


@dataclass(frozen=True)
class ConnectedPart:
    """The rows of a step that are read twice, and how their requests are connected."""

    suffix: SuffixRows
    modes: list[RequestMode]  # one for each of the R requests
    index: Tensor  # [N] int64: the rows in the step's batch
    places: Tensor  # [R] int64: which of these are t*


def _connected_part(runner: GPUModelRunner, model: Any, device: torch.device) -> ConnectedPart | None:
    """What is connected in a step, or None where no t* is in it."""
    modes = _modes(runner)
    requests = runner.input_batch.num_reqs
    starts = runner.query_start_loc.np[: requests + 1].astype(np.int64)
    computed = runner.input_batch.num_computed_tokens_cpu[:requests].astype(np.int64)
    model.meter.count_prompts(modes[place].mode for place in _read_through(runner, modes, computed + np.diff(starts)))
    modes = {place: mode for place, mode in modes.items() if mode.is_connected}
    tokens = np.full(requests, -1, dtype=np.int64)
    for place, mode in modes.items():
        tokens[place] = mode.token
    suffix = SuffixRows.of_step(tokens, starts, computed)
    if suffix is None:
        return None
    index, places = (torch.from_numpy(part).to(device) for part in (suffix.rows, suffix.places))
    return ConnectedPart(suffix, [modes[place] for place in suffix.requests], index, places)


@contextmanager
def _watched(model: Any, step: ConnectedPart) -> Iterator[FirstReading | None]:
    """A block whose forward pass is the first reading, where it can be watched; None otherwise.

    Python between the layers runs only where a model is neither compiled nor replayed from a graph.
    """
    replays = get_forward_context().cudagraph_runtime_mode != CUDAGraphMode.NONE
    if replays or not model.runs_layer_by_layer:
        yield None
        return
    with model.first_reading(step.index, step.places) as first:
        yield first


def _connect(
    runner: GPUModelRunner, model: Any, step: ConnectedPart, first: FirstReading | None,
    input_ids: Tensor, positions: Tensor, states: Tensor,
) -> None:  # fmt: skip
    """Put the connected states in the place of those that the step computed, for the rows from t* on."""
    device, suffix, modes = states.device, step.suffix, step.modes
    ids = runner.input_batch.token_ids_cpu
    keys = [
        key_of_tokens(ids[place, : mode.token + 1].astype(np.int64))
        for place, mode in zip(suffix.requests, modes, strict=True)
    ]
    rows = Rows(
        input_ids=input_ids[step.index],
        positions=positions[step.index],
        places=step.places,
        row_keys=torch.tensor(keys, dtype=torch.int64, device=device),
        keeps_own=torch.tensor([mode.keeps_own for mode in modes], device=device),
        english={
            row: torch.tensor(mode.english, dtype=input_ids.dtype, device=device)
            for row, mode in enumerate(modes)
            if mode.english
        },
    )
    with (
        model.meter.timed(device),
        override_forward_context(_context_of_rows(runner, suffix, step.index, rows.positions)),
    ):
        states[step.index] = model.connected_states(rows, first)


def _modes(runner: GPUModelRunner) -> dict[int, RequestMode]:
    """The modes of the requests that still read their prompt, by their place in the step."""
    batch = runner.input_batch
    reading = batch.num_computed_tokens_cpu[: batch.num_reqs] < batch.num_prompt_tokens[: batch.num_reqs]
    return {
        int(place): RequestMode.of(runner.requests[batch.req_ids[place]].sampling_params)
        for place in np.flatnonzero(reading)
    }


def _read_through(runner: GPUModelRunner, places: Iterable[int], known: Integers) -> list[int]:
    """Of the places, those whose prompt this step reads to its end for the first time; `known [B]` tokens after it.

    A request that was preempted reads its prompt again, with the answer it has by then.
    """
    batch = runner.input_batch
    ends = (place for place in places if known[place] >= batch.num_prompt_tokens[place])
    return [place for place in ends if not runner.requests[batch.req_ids[place]].output_token_ids]


def _context_of_rows(runner: GPUModelRunner, suffix: SuffixRows, index: Tensor, positions: Tensor) -> ForwardContext:
    """The step's forward context with attention metadata for the rows alone.

    Built behind the step's forward pass: builders keep buffers, which graphs of that pass read.
    """
    context, device = get_forward_context(), index.device
    starts, lengths = (torch.from_numpy(part.astype(np.int32)) for part in (suffix.starts, suffix.lengths))
    requests = torch.from_numpy(suffix.requests).to(device)
    attention: dict[str, Any] = {}
    slot_mapping: dict[str, Tensor] = {}
    for number, group in enumerate(runner.kv_cache_config.kv_cache_groups):
        slots = context.slot_mapping[group.layer_names[0]][index]
        blocks = runner.input_batch.block_table[number].get_device_tensor(runner.input_batch.num_reqs)
        common = CommonAttentionMetadata(
            query_start_loc=starts.to(device),
            query_start_loc_cpu=starts,
            seq_lens=lengths.to(device),
            seq_lens_cpu_upper_bound=lengths,
            num_reqs=len(suffix.requests),
            num_actual_tokens=len(suffix.rows),
            max_query_len=int(np.diff(suffix.starts).max()),
            max_seq_len=int(suffix.lengths.max()),
            block_table_tensor=blocks[requests],
            slot_mapping=slots,
            causal=True,
            positions=positions,
            is_prefilling=torch.ones(len(suffix.requests), dtype=torch.bool),
        )
        for attention_group in runner.attn_groups[number]:
            metadata = attention_group.build_metadata(common)
            attention |= dict.fromkeys(attention_group.layer_names, metadata)
            slot_mapping |= dict.fromkeys(attention_group.layer_names, slots)
    return replace(
        context,
        attn_metadata=attention,
        slot_mapping=slot_mapping,
        cudagraph_runtime_mode=CUDAGraphMode.NONE,
        batch_descriptor=None,
        ubatch_slices=None,
        is_padding=None,
    )
