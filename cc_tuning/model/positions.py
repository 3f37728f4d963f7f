"""Where t* is in a batch, and the checks that it is really there.

An index of -1 would quietly mean the last (usually padding) token, so a wrong position stops the run. On a GPU the
check stays on the device: reading its result back would stall every step.
"""

import torch
from torch import Tensor

from cc_tuning.errors import PromptNotFound


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
