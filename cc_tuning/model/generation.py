"""Answering with a connection: one pass over the prompt, one more token, then Hugging Face's own `generate`.

Only t* changes, and only the keys and values that layers 2..L keep for t* depend on it. So the prompt is read once
into a KV cache, without the language-model head; the cache is cropped to the tokens before t*; and `generate` is given
the whole prompt with that cache, so that its first pass runs from t* on, with the vector added. Everything after is
the ordinary decode loop: greedy, sampling, beams, streamers and stopping criteria are Hugging Face's.
The authors' code runs two full prefills, one prompt at a time.
"""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.utils import ModelOutput

from cc_tuning.errors import ConfigError
from cc_tuning.model.capture import recorded_activations
from cc_tuning.model.config import ActivationSource
from cc_tuning.model.families import Components
from cc_tuning.model.injection import injected_once
from cc_tuning.model.positions import last_prompt_column, position_ids_of

# Arguments of `generate` that would take the place of the cache prepared here.
_OWN_ARGUMENTS = ("past_key_values", "cache_implementation", "inputs_embeds", "position_ids")


@dataclass(frozen=True)
class Generation:
    """What `generate` returned, and the layer each row was connected with."""

    output: Tensor | ModelOutput  # prompt and new tokens [B, T + new], or HF's output object
    selected_layer: Tensor | None  # [B] int64; None without a connection or when no single layer was chosen


@dataclass(frozen=True)
class Prompts:
    """A left-padded batch of rendered generation prompts."""

    input_ids: Tensor  # [B, T] int64
    attention_mask: Tensor  # [B, T]
    column: int  # of t*, the same in every row

    @classmethod
    def found_in(cls, input_ids: Tensor, attention_mask: Tensor, offset: int, side: str) -> "Prompts":
        """The batch with its t*; raises PromptNotFound when a row has none or is not padded on the left."""
        return cls(input_ids, attention_mask, last_prompt_column(attention_mask, offset, side))

    @property
    def positions(self) -> Tensor:
        """t* of each row `[B]` int64."""
        return self.input_ids.new_full((self.input_ids.shape[0],), self.column)

    @property
    def connection_ids(self) -> Tensor:
        """The token at t* of each row `[B]` int64."""
        return self.input_ids[:, self.column]


def generate(
    base: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, arguments: dict[str, Any]
) -> Tensor | ModelOutput:
    """Hugging Face's `generate` of the base model, as it is."""
    # transformers' types put `generate` on a mixin that PreTrainedModel does not name.
    return cast(Any, base).generate(input_ids, attention_mask=attention_mask, **arguments)


def filled_cache(base: PreTrainedModel, components: Components, prompts: Prompts, columns: int) -> Cache:
    """A KV cache of the first `columns` columns of the prompts, read by the decoder alone."""
    cache = DynamicCache(config=base.config)
    # A sliding-window layer can only give tokens back if it was told to keep them.
    cache.activate_past_recording()
    if columns:
        mask = prompts.attention_mask[:, :columns]
        components.decoder(
            input_ids=prompts.input_ids[:, :columns],
            attention_mask=mask,
            position_ids=position_ids_of(mask),
            past_key_values=cache,
            use_cache=True,
        )
    return cache


def read_prompts(
    base: PreTrainedModel, components: Components, source: ActivationSource, prompts: Prompts
) -> tuple[Tensor, Cache]:
    """`F [B, L, D]` at t* of the prompts, and a KV cache of the tokens before t*, from one pass."""
    with recorded_activations(components, source, prompts.positions) as outputs:
        cache = filled_cache(base, components, prompts, prompts.column + 1)
    cache.crop(-1)
    return outputs.stack(), cache


def continue_with(
    base: PreTrainedModel,
    components: Components,
    prompts: Prompts,
    vector: Tensor,
    cache: Cache,
    arguments: dict[str, Any],
) -> Tensor | ModelOutput:
    """`base.generate` over the prompts from t* on, with `vector [B, D]` added at t*.

    `cache` holds the columns before t*; `arguments` are passed to `generate` as they are.

    Raises:
        ConfigError: an argument that would replace the cache, or switch it off.
    """
    refused = [name for name in _OWN_ARGUMENTS if arguments.get(name) is not None]
    if refused or not arguments.get("use_cache", True):
        raise ConfigError(
            f"generate(connection=...) got {', '.join(refused) or 'use_cache=False'}: a connected prompt is continued "
            "from its own KV cache. Leave the argument out, or generate with connection='off'"
        )
    # In the pass that starts at t*, t* is column 0.
    with injected_once(components.decoder, components.injection_site, 0, vector, cache):
        return generate(
            base, prompts.input_ids, prompts.attention_mask, arguments | {"past_key_values": cache, "use_cache": True}
        )
