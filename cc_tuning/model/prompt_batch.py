"""A batch of prompts to answer, with the place of t* in it: the last column, less the offset, in every row."""

from dataclasses import dataclass

from torch import Tensor
from transformers import Cache, PretrainedConfig

from cc_tuning.errors import ConfigError, PromptNotFound
from cc_tuning.model.positions import last_prompt_column


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

    @classmethod
    def continuing(
        cls, input_ids: Tensor, attention_mask: Tensor, offset: int, cache: Cache, config: PretrainedConfig
    ) -> "Prompts":
        """The batch of conversations whose earlier turns are in `cache`, with the t* of the current turn.

        Rows may have padding anywhere before t*: their earlier answers ended at different lengths.

        Raises:
            PromptNotFound: t* is in the cache already, or on padding in some row.
            ConfigError: padding between tokens, in a model with a sliding window.
        """
        past, columns = int(cache.get_seq_length()), input_ids.shape[1]
        column = columns - 1 - offset
        if column < past or attention_mask.shape != input_ids.shape or not bool((attention_mask[:, column:] > 0).all()):
            raise PromptNotFound(
                f"past_key_values holds {past} tokens of conversations of {columns}, and the connection belongs "
                f"{offset} tokens before the last, on a token that is new in every row; got a mask of shape "
                f"{tuple(attention_mask.shape)}. Pass the ids and the mask of the whole conversation, with the new "
                "turn at the end of each row"
            )
        mask = attention_mask > 0
        if _has_window(config) and bool((mask[:, 1:] < mask[:, :-1]).any()):
            raise ConfigError(
                f"conversations of a {config.model_type} have padding between their turns, in batch rows "
                f"{(mask[:, 1:] < mask[:, :-1]).any(1).nonzero()[:, 0].tolist()}; its sliding window of "
                f"{config.sliding_window} would count it as text. Continue such conversations one at a time, or leave "
                "past_key_values out and pad on the left"
            )
        return cls(input_ids, attention_mask, column)

    @property
    def positions(self) -> Tensor:
        """t* of each row `[B]` int64."""
        return self.input_ids.new_full((self.input_ids.shape[0],), self.column)

    @property
    def connection_ids(self) -> Tensor:
        """The token at t* of each row `[B]` int64."""
        return self.input_ids[:, self.column]


def _has_window(config: PretrainedConfig) -> bool:
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return "sliding_attention" in layer_types
    return getattr(config, "sliding_window", None) is not None
