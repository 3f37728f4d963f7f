"""Where t* is in a batch, and the checks that it is really there.

An index of -1 would quietly mean the last (usually padding) token, so a wrong position stops the run. On a GPU the
check stays on the device: reading its result back would stall every step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PretrainedConfig

from cc_tuning.errors import ConfigError, PromptNotFound


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


def position_ids_of(attention_mask: Tensor) -> Tensor:
    """Position of each real token counted from its row's first real token; 0 on padding, left or right.

    Shapes: `attention_mask [B, T]`, result `[B, T]` int64. The same rule as in Hugging Face's `generate`, so that a
    cache filled here can be continued there.
    """
    return (attention_mask.long().cumsum(-1) - 1).masked_fill(attention_mask == 0, 0)


def check_positions(positions: Tensor, attention_mask: Tensor, side: str) -> None:
    """Refuse connection positions outside the sequence or on padding.

    Shapes: `positions [B]` int64, `attention_mask [B, T]`. `side` names the sequence in the message.

    Raises:
        PromptNotFound: on the CPU, naming the rows. On a GPU the same condition is a device-side assertion.
    """
    length = attention_mask.shape[1]
    column = positions.clamp(0, length - 1)
    found = (positions >= 0) & (positions < length) & (attention_mask.gather(1, column[:, None])[:, 0] > 0)
    if positions.device.type != "cpu":
        torch._assert_async(found.all(), f"a connection position of the {side} sequence is not on a token")
    elif not bool(found.all()):
        rows = (~found).nonzero()[:, 0].tolist()
        raise PromptNotFound(
            f"no connection position in the {side} sequence of batch rows {rows}: got positions "
            f"{positions[rows].tolist()} for {length} tokens, of which {attention_mask[rows].sum(1).tolist()} are not "
            "padding. A position must be inside the prompt; take it from the prompt's length when it is tokenized"
        )


def last_prompt_column(attention_mask: Tensor, offset: int, side: str) -> int:
    """The column of t* in a left-padded batch of generation prompts: `T - 1 - offset`, the same for every row.

    Raises:
        PromptNotFound: a row is padded on the right or inside, or has no more than `offset` tokens.
    """
    mask = attention_mask > 0
    column = mask.shape[1] - 1 - offset
    left_padded = mask[:, -1:].all() and bool((mask[:, 1:] >= mask[:, :-1]).all())
    if column < 0 or not left_padded or not bool(mask[:, column].all()):
        raise PromptNotFound(
            f"the {side} prompts of this batch do not all end in t* and {offset} more tokens: rows hold "
            f"{mask.sum(1).tolist()} tokens in {mask.shape[1]} columns, the last column is a token in "
            f"{int(mask[:, -1:].sum())} of {mask.shape[0]} rows. Pad on the left and pass whole prompts"
        )
    return column


def key_of_rows(input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
    """A number per row made from its tokens up to t*, whatever the padding and whatever the rest of the batch.

    Shapes: `input_ids, attention_mask [B, T]`, `positions [B]`; result `[B]` int64 in 0 .. 2^31 - 1.
    A polynomial in the token ids modulo 2^64 (int64 wraps), of which the well-mixed upper half is kept.
    """
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    counted = (attention_mask > 0) & (columns <= positions[:, None])
    powers = torch.full_like(columns, 6364136223846793005).cumprod(0)
    terms = (input_ids + 1) * powers[position_ids_of(attention_mask)]
    return terms.where(counted, 0).sum(1) >> 33 & 0x7FFFFFFF


def _has_window(config: PretrainedConfig) -> bool:
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return "sliding_attention" in layer_types
    return getattr(config, "sliding_window", None) is not None
