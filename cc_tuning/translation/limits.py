"""How long an answer may become."""

from collections.abc import Sequence

import torch

from cc_tuning.translation.batching import EXTRA_TOKENS


def token_limits(batch: Sequence[Sequence[int]], max_length_ratio: float) -> torch.Tensor:
    """The most tokens that each segment's answer may have: `[B] int64`, language and end token not counted."""
    lengths = torch.tensor([len(ids) for ids in batch])
    return (lengths * max_length_ratio).long() + EXTRA_TOKENS
