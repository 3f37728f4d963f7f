"""Answering with a connection, inside Hugging Face's own `generate`.

The first forward pass of `generate`, the one over the prompt, finds v and adds it (`prompt_pass.py`); everything after
it is the ordinary decode loop.

`generate` brings the cache, whatever made it: its own, static for compiled decoding, or one that holds the earlier
turns of a conversation, with what was added to them. Greedy, sampling, beams, streamers and stopping criteria are
Hugging Face's. The authors' code runs two full prefills, one prompt at a time.
"""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.utils import ModelOutput

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.decision_maker import Decision
from cc_tuning.model.families import Components
from cc_tuning.model.positions import Prompts, position_ids_of
from cc_tuning.model.prompt_pass import Choice, PassOverPrompt

# Arguments of `generate` by which the prompt would no longer be what t* was found in.
_REFUSED_ARGUMENTS = ("inputs_embeds", "position_ids")


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
    pass_over_prompt = PassOverPrompt(components, connection, prompts, choice)
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
    pass_over_prompt = PassOverPrompt(components, connection, prompts, choice)
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
