"""Sequences of different lengths as one tensor."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def padded(
    sequences: Sequence[Sequence[int]], padding_id: int, side: Literal["left", "right"] = "right"
) -> tuple[Tensor, Tensor]:
    """`input_ids` and `attention_mask`, both `[B, T]` int64, with `padding_id` on `side` of shorter sequences."""
    width = max(map(len, sequences))
    input_ids = torch.full((len(sequences), width), padding_id, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(sequences):
        place = slice(width - len(ids), width) if side == "left" else slice(0, len(ids))
        input_ids[row, place] = torch.tensor(ids, dtype=torch.int64)
        attention_mask[row, place] = 1
    return input_ids, attention_mask
