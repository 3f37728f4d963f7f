"""Answering with a connection, inside Hugging Face's own `generate`.

Only t* changes, and only the keys and values that layers 2..L keep for t* depend on it. So in the first forward pass
of `generate`, the one over the prompt, the decoder runs twice: over the tokens up to t*, without the language-model
head, for `F`; and again from t* on, with the vector added, after the KV cache has forgotten t*. The second run is one
token long (plus `offset`), and everything after it is the ordinary decode loop. What the first one does not need is
left out (`narrowing.py`).

`generate` brings the cache, whatever made it: its own, static for compiled decoding, or one that holds the earlier
turns of a conversation, with what was added to them. Greedy, sampling, beams, streamers and stopping criteria are
Hugging Face's. The authors' code runs two full prefills, one prompt at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.utils import ModelOutput

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.decision_maker import Decision
from cc_tuning.model.families import Components
from cc_tuning.model.hooks import last_ffn_at, recorded_activations
from cc_tuning.model.injection import injected
from cc_tuning.model.kv_cache import forgetting_last_token
from cc_tuning.model.pooled import recorded_pooled_states
from cc_tuning.model.positions import Prompts, position_ids_of

# Arguments of `generate` by which the prompt would no longer be what t* was found in.
_REFUSED_ARGUMENTS = ("inputs_embeds", "position_ids")


@dataclass(frozen=True)
class FromOwn:
    """The way to decide from the prompts' own activations `F [B, L, D]` at t*, once they are read."""

    decide: Callable[[Tensor, Tensor | None], Decision]
    """Of `F` and the pooled states `[B, L−1, D]`; the latter are None unless they are asked for."""
    reads_pooled: bool = False


Choice = Decision | FromOwn
"""A decision to connect with, or the way to make it."""


@dataclass(frozen=True)
class Generation:
    """The output of `generate`, and the layer each row was connected with."""

    output: Tensor | ModelOutput  # prompt and new tokens [B, T + new], or HF's output object
    selected_layer: Tensor | None  # [B] int64; None without a connection or when no single layer was chosen


def generate(
    base: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, arguments: dict[str, Any]
) -> Tensor | ModelOutput:
    """Hugging Face's `generate` of the base model, as it is."""
    # transformers' types put `generate` on a mixin that PreTrainedModel does not name.
    return cast(Any, base).generate(input_ids, attention_mask=attention_mask, **arguments)


def generate_connected(
    base: PreTrainedModel,
    components: Components,
    connection: ConnectionConfig,
    prompts: Prompts,
    choice: Choice,
    arguments: dict[str, Any],
) -> tuple[Tensor | ModelOutput, Decision]:
    """`base.generate` over the prompts with the chosen vector added at t*, and the decision behind the vector.

    `arguments` are passed to `base.generate` as they are.

    Raises:
        ConfigError: an argument that the connection cannot go with.
        UnsupportedModel: the pass over the prompt did not go through the decoder, so that nothing was connected.
    """
    if refused := [name for name in _REFUSED_ARGUMENTS if arguments.get(name) is not None]:
        raise ConfigError(
            f"generate with a connection got {', '.join(refused)}: t* is found in token ids and their mask. Leave the "
            "argument out, or generate with connection='off'"
        )
    pass_over_prompt = _PassOverPrompt(components, connection, prompts, choice)
    with pass_over_prompt.awaited():
        output = generate(base, prompts.input_ids, prompts.attention_mask, arguments)
    if pass_over_prompt.decision is None:
        raise UnsupportedModel(
            f"nothing was connected: generate did not call the decoder of this {type(base).__name__} over the prompt. "
            "Where another function took the place of its forward, undo that; to compile decoding, pass "
            "cache_implementation='static'"
        )
    return output, pass_over_prompt.decision


def read_connected_prompts(
    base: PreTrainedModel,
    components: Components,
    connection: ConnectionConfig,
    prompts: Prompts,
    choice: Choice,
    cache: Cache,
) -> tuple[Tensor, Decision]:
    """What the prompts make of `cache`, which is empty before, with the chosen vector added at t*.

    Returns the logits `[B, 1, V]` after each prompt and the decision behind the vector: the state in which
    `generate_connected` begins to decode.
    """
    pass_over_prompt = _PassOverPrompt(components, connection, prompts, choice)
    with pass_over_prompt.awaited():
        logits = read_prompts(base, prompts, cache)
    assert pass_over_prompt.decision is not None  # `read_prompts` calls the decoder
    return logits, pass_over_prompt.decision


def read_prompts(base: PreTrainedModel, prompts: Prompts, cache: Cache) -> Tensor:
    """The logits `[B, 1, V]` after each prompt; `cache`, which is empty before, holds the prompts afterwards."""
    logits: Tensor = base(
        input_ids=prompts.input_ids,
        attention_mask=prompts.attention_mask,
        position_ids=position_ids_of(prompts.attention_mask),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    return logits


class _PassOverPrompt:
    """The forward pass of `generate` that reaches t*: its first, or a later one when the prompt comes in chunks."""

    def __init__(self, components: Components, connection: ConnectionConfig, prompts: Prompts, choice: Choice) -> None:
        self.decision: Decision | None = None
        """That of the connection, once it was made."""
        self._components = components
        self._connection = connection
        self._prompts = prompts
        self._choice = choice
        self._hooks = ExitStack()

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
        place = self._prompts.column - past
        if place >= columns:
            return None
        self._hooks.close()
        # Beams and several samples repeat each prompt: row b became rows b * repeats and those behind it.
        repeats = rows // self._prompts.input_ids.shape[0]
        if isinstance(self._choice, Decision):
            self.decision = self._choice
        else:
            own, pooled = self._read(self._part(arguments, past, 0, place + 1), cache, past)
            self.decision = self._choice.decide(own[::repeats], None if pooled is None else pooled[::repeats])
            arguments, place = arguments | self._part(arguments, past, place, columns), 0
        vector = self.decision.vector.repeat_interleave(repeats, dim=0) if repeats > 1 else self.decision.vector
        positions = arguments["input_ids"].new_full((rows,), place)
        self._hooks.enter_context(
            injected(self._components, positions, vector, self._connection.share, self.decision.gate)
        )
        self._hooks.callback(decoder.register_forward_hook(self._end).remove)
        return inputs, arguments

    def _end(self, decoder: nn.Module, inputs: Any, output: Any) -> None:
        self._hooks.close()

    def _read(self, arguments: dict[str, Any], cache: Cache, past: int) -> tuple[Tensor, Tensor | None]:
        """`F [B, L, D]` at the last of the columns in `arguments`, and the pooled states of these columns if they are
        asked for; `cache` takes in the columns before the last.

        Raises:
            ConfigError: pooled states are asked for and `past` tokens of the prompt are in the cache already.
        """
        rows, columns = arguments["input_ids"].shape
        positions = arguments["input_ids"].new_full((rows,), columns - 1)
        recorded = recorded_activations(self._components, self._connection.source, positions)
        with ExitStack() as reading:
            reading.enter_context(forgetting_last_token(cache))
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
        return outputs.stack(), None if states is None else states.stack()

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
