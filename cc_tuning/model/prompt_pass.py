"""The pass over a prompt that is connected on the way, for whatever calls the decoder.

Only t* changes, and only the keys and values that layers 2..L keep for t* depend on it. So in the first forward pass
of `generate`, the one over the prompt, the decoder runs twice: over the tokens up to t*, without the language-model
head, for `F`; and again from t* on, with the vector added, after the KV cache has forgotten t*. The second run is one
token long, or n tokens where n positions are connected, and `offset` more; everything after it is the ordinary decode
loop. What the first one does not need is left out (`last_ffn_at`).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.decision_maker import Decision
from cc_tuning.model.families import Components
from cc_tuning.model.hooks import last_ffn_at, recorded_activations
from cc_tuning.model.injection import injected
from cc_tuning.model.kv_cache import forgetting_last_tokens
from cc_tuning.model.pooled import recorded_pooled_states
from cc_tuning.model.positions import Prompts
from cc_tuning.model.several_positions import in_a_row, only_where


@dataclass(frozen=True)
class FromOwn:
    """The way to decide from the prompts' own activations `F [B, L, D]` at t*, once they are read."""

    decide: Callable[[Tensor, Tensor | None], Decision]
    """Of `F` and the pooled states `[B, L−1, D]`; the latter are None unless they are asked for."""
    reads_pooled: bool = False


Choice = Decision | FromOwn
"""A decision to connect with, or the way to make it."""


class PassOverPrompt:
    """The forward pass of `generate` that reaches t*: its first, or a later one when the prompt comes in chunks."""

    def __init__(self, components: Components, connection: ConnectionConfig, prompts: Prompts, choice: Choice) -> None:
        self.decision: Decision | None = None
        """That of the connection, once it was made."""
        self._components = components
        self._connection = connection
        self._prompts = prompts
        self._choice = choice
        self._hooks = ExitStack()
        self._start: int | None = None  # tokens in the cache before anything of this call

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Hooks on the decoder that connect in that pass; gone when it is over, and when the block is left."""
        with self._hooks as hooks:
            hooks.callback(self._components.decoder.register_forward_pre_hook(self._begin, with_kwargs=True).remove)
            yield

    def _begin(self, decoder: nn.Module, inputs: Any, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The decoder's arguments for the pass itself, or for what is left of it from t* on."""
        cache = arguments.get("past_key_values")
        if cache is None:
            raise ConfigError(
                "generate with a connection got use_cache=False, but decoding reads t* from the KV cache. Leave the "
                "argument out, or generate with connection='off'"
            )
        past = _length_for_rows(cache, arguments["input_ids"].shape[0])
        rows, columns = arguments["input_ids"].shape
        self._start = past if self._start is None else self._start
        place = self._prompts.column - past
        if place >= columns:
            return None
        self._hooks.close()
        connected = self._connected(place)
        # Beams and several samples repeat each prompt: row b became rows b * repeats and those behind it.
        repeats = rows // self._prompts.input_ids.shape[0]
        if isinstance(self._choice, Decision):
            self.decision = self._choice
        else:
            own, pooled = self._read(self._part(arguments, past, 0, place + 1), cache, past, connected)
            self.decision = self._choice.decide(own[::repeats], None if pooled is None else pooled[::repeats])
            first = place + 1 - connected
            arguments, place = arguments | self._part(arguments, past, first, columns), place - first
        vector = self._added(self.decision.vector, connected)
        vector = vector.repeat_interleave(repeats, dim=0) if repeats > 1 else vector
        positions = self._positions(arguments["input_ids"], place, connected)
        share, gate = self._connection.share, self.decision.gate
        self._hooks.enter_context(injected(self._components, positions, vector, share, gate))
        self._hooks.callback(decoder.register_forward_hook(self._end).remove)
        return inputs, arguments

    def _connected(self, place: int) -> int:
        """How many positions are connected in a pass with t* in column `place`: those of the prompt, as far as they are
        new.

        Raises:
            ConfigError: some are in the cache from an earlier chunk of the prompt.
        """
        assert self._start is not None
        asked = min(self._connection.positions, self._prompts.column - self._start + 1)
        if place + 1 < asked:
            raise ConfigError(
                f"the last {asked} tokens of the prompt are to be connected (connection.positions), and {place + 1} of "
                "them are in its last chunk. Leave prefill_chunk_size out, or take another size"
            )
        return asked

    def _positions(self, ids: Tensor, place: int, connected: int) -> Tensor:
        """The columns that are connected, `[B]`, or with several positions `[B, connected]`, t* first."""
        positions = ids.new_full((ids.shape[0],), place)
        if self._connection.positions == 1:
            return positions
        return positions[:, None] - torch.arange(connected, device=ids.device)

    def _present(self, connected: int) -> Tensor:
        """Which of the prompts' connected positions are tokens, `[B, connected]` bool."""
        mask, column = self._prompts.attention_mask, self._prompts.column
        return mask[:, column + 1 - connected : column + 1].flip(1) > 0

    def _added(self, vector: Tensor, connected: int) -> Tensor:
        """What of the chosen `vector` is added in this pass."""
        if self._connection.positions == 1:
            return vector
        return only_where(self._present(connected), vector[:, :connected])

    def _end(self, decoder: nn.Module, inputs: Any, output: Any) -> None:
        self._hooks.close()

    def _read(self, arguments: dict[str, Any], cache: Cache, past: int, connected: int) -> tuple[Tensor, Tensor | None]:
        """`F [B, L, D]` at the last of the columns in `arguments`, or at the last `connected` ones, and the pooled
        states of these columns if they are asked for; `cache` takes in the columns before those.

        Raises:
            ConfigError: pooled states are asked for and `past` tokens of the prompt are in the cache already.
        """
        rows, columns = arguments["input_ids"].shape
        positions = self._positions(arguments["input_ids"], columns - 1, connected)
        recorded = recorded_activations(self._components, self._connection.source, positions)
        with ExitStack() as reading:
            reading.enter_context(forgetting_last_tokens(cache, connected))
            reading.enter_context(last_ffn_at(self._components, positions))
            outputs = reading.enter_context(recorded)
            states = None
            if isinstance(self._choice, FromOwn) and self._choice.reads_pooled:
                if past:
                    raise ConfigError(
                        f"this Transform Matrix reads the mean over all tokens of a prompt, and {past} of them are in "
                        "the cache: an earlier turn of a conversation, or a chunk of the prompt. Leave past_key_values "
                        "and prefill_chunk_size out, or fit with `transform.features: layer` or `all_layers`"
                    )
                repeats = rows // self._prompts.attention_mask.shape[0]
                counted = self._prompts.attention_mask[:, :columns].bool().repeat_interleave(repeats, dim=0)
                states = reading.enter_context(recorded_pooled_states(self._components, counted))
            self._components.decoder(**arguments, past_key_values=cache, use_cache=True)
        return self._in_a_row(outputs.stack(), connected), None if states is None else states.stack()

    def _in_a_row(self, own: Tensor, connected: int) -> Tensor:
        """`F` as it is decided from: with several positions of all of them, zero where there is none."""
        absent = self._connection.positions - connected
        if self._connection.positions == 1:
            return own
        repeats = own.shape[0] // self._prompts.attention_mask.shape[0]
        present = self._present(connected).repeat_interleave(repeats, dim=0)
        return torch.nn.functional.pad(in_a_row(own, present), (0, 0, 0, absent * own.shape[2]))

    def _part(self, arguments: dict[str, Any], past: int, start: int, stop: int) -> dict[str, Any]:
        """Ids, positions and mask for columns `start..stop` of a pass that begins after `past` cached ones."""
        ids, position_ids, mask = arguments["input_ids"], arguments.get("position_ids"), arguments["attention_mask"]
        if mask is not None:
            # For a static cache it was made for the whole pass; the decoder makes its own from the prompts' mask.
            repeats = ids.shape[0] // self._prompts.attention_mask.shape[0]
            mask = self._prompts.attention_mask[:, : past + stop].repeat_interleave(repeats, dim=0)
        return {
            "input_ids": ids[:, start:stop],
            "position_ids": None if position_ids is None else position_ids[..., start:stop],
            "attention_mask": mask,
        }


def _length_for_rows(cache: Cache, rows: int) -> int:
    """The number of tokens that `cache` holds.

    Raises:
        ConfigError: it holds another number of rows.
    """
    length = int(cache.get_seq_length())
    keys = getattr(cache.layers[0], "keys", None) if length else None
    if keys is not None and keys.shape[0] != rows:
        raise ConfigError(
            f"past_key_values holds {keys.shape[0]} rows and generate works on {rows}: a conversation goes on with one "
            "row per sequence, and what beam search leaves are rows of hypotheses. Leave past_key_values out to read "
            "the conversation again"
        )
    return length
