"""Which rows of a step's flat batch are computed again: t* of each connected prompt, and what follows it in the step.

vLLM lays the tokens of a step one behind the other, request by request. t* of a request is in the step if it is not
among the tokens computed before and among those scheduled now; this holds for prompts in chunks, for prompts that begin
in the prefix cache and for decoding, where it is never so. Behind t* there can be more rows: `offset` tokens of the
prompt, and earlier answers of a request that was preempted and is read again.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SuffixRows:
    """The rows of R requests, as a batch of their own."""

    requests: Integers  # [R] places of the requests in the step
    rows: Integers  # [N] places of their rows in the flat batch
    starts: Integers  # [R + 1] where a request's rows begin among the N
    lengths: Integers  # [R] tokens of the request that are known after the step

    @property
    def places(self) -> Integers:
        """Where t* of each request is among the N rows `[R]`: it is the first of its rows."""
        return self.starts[:-1]

    @classmethod
    def of_step(cls, positions: Integers, starts: Integers, computed: Integers) -> Self | None:
        """The rows of a step, or None where no t* is in it.

        `positions [B]` are the places of t* in its prompt, -1 for requests that are not connected; `starts [B + 1]`
        where each request's tokens begin in the flat batch; `computed [B]` how many tokens were computed before.
        """
        known = computed + np.diff(starts)
        requests = np.flatnonzero((positions >= computed) & (positions < known))
        if not len(requests):
            return None
        first = starts[requests] + positions[requests] - computed[requests]
        rows = [np.arange(begin, end) for begin, end in zip(first, starts[requests + 1], strict=True)]
        own_starts = np.concatenate([[0], np.cumsum([len(of_request) for of_request in rows])])
        return cls(requests, np.concatenate(rows), own_starts, known[requests])


def key_of_tokens(token_ids: Integers) -> int:
    """A number in 0 .. 2^31 - 1 from the tokens of a prompt up to t*, `[n]`, for the selector `random`.

    A polynomial modulo 2^64 of which the well-mixed upper half is kept; the same number by which a checkpoint is
    evaluated.
    """
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(len(token_ids), 6364136223846793005, dtype=np.uint64))
        total = ((token_ids.astype(np.uint64) + np.uint64(1)) * powers).sum(dtype=np.uint64)
    return int(total >> np.uint64(33)) & 0x7FFFFFFF
