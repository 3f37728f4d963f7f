"""The connection at several of the last prompt positions: `connection.positions: n`.

v is found and added at t* and at each of the n - 1 tokens before it, from the English prompt's positions at the same
distance from its own t*. Each position decides by itself, from its own activations and its own token. So what is read
of a prompt is n times as much, and it stands as if the model had n times its layers: `F [B, n L, D]`, first the L
layers at t*, then those at the token before, and so on. Means, maps and their fit then need not know of positions, and
each position has its own means. A prompt with fewer tokens has what it has; what is absent is zero, and nothing is
added there. With n = 1 nothing here is used.
"""

import torch
from torch import Tensor, nn

from cc_tuning.model.decision_maker import Decision


def last_positions(positions: Tensor, attention_mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """t* and the `count - 1` columns before it in each row, t* first, and which of them are tokens: `[B, count]` int64
    and bool. A column before the first is given as 0.

    Shapes: `positions [B]`, `attention_mask [B, T]`, padded on either side.
    """
    columns = positions[:, None] - torch.arange(count, device=positions.device)
    inside = columns.clamp(min=0)
    return inside, (columns >= 0) & (attention_mask.gather(1, inside) > 0)


def in_a_row(activations: Tensor, present: Tensor) -> Tensor:
    """`F [B, n L, D]` of `activations [B, n, L, D]`; zero where `present [B, n]` is false."""
    return (activations * present[:, :, None, None]).flatten(1, 2)


def decided_at_each(
    selector: nn.Module, source: Tensor, embedding: Tensor, row_keys: Tensor, noise: Tensor | None
) -> Decision:
    """The decision of each position from `source [B, n L, D]` and `embedding [B, n, D]`: its vector is `[B, n, D]`, or
    `[B, n, L, D]` for every layer, and all else is what was decided at t*.

    A row has one key and one noise for all of its positions.
    """
    rows, n = embedding.shape[:2]
    each: Decision = selector(
        source.unflatten(1, (n, -1)).flatten(0, 1),
        embedding.flatten(0, 1),
        row_keys.repeat_interleave(n),
        None if noise is None else noise.repeat_interleave(n, dim=0),
    )

    def at_last(of_each: Tensor) -> Tensor:
        return of_each.unflatten(0, (rows, n))[:, 0]

    return Decision(
        each.vector.unflatten(0, (rows, n)),
        at_last(each.weights),
        at_last(each.logits),
        at_last(each.soft_weights),
        at_last(each.probabilities),
        each.gate,
    )


def only_where(present: Tensor, vector: Tensor) -> Tensor:
    """`vector [B, n, D]` or `[B, n, L, D]`, zero where `present [B, n]` is false."""
    return vector * present.view(*present.shape, *[1] * (vector.dim() - 2))
