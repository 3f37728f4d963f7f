"""Rows that are held out of training, and when the loss over them is measured; the lowest keeps its checkpoint.

Which rows are held out depends on the seed and the row ids alone, whatever the order of the file. The model is measured
as it is used: no dropout, and no noise in the choice of a layer, which is the largest logit. So a loss is a function of
the weights, and the number of ranks, the cuts into micro-batches and a kill change its rounding at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from cc_tuning.errors import ConfigError
from cc_tuning.training.collators import Collator
from cc_tuning.training.dataset import Rows


class Split(NamedTuple):
    """The rows that are trained, and those that are measured; None where none are held out."""

    training: Rows
    held_out: Rows | None


@dataclass(frozen=True)
class Validation:
    """What a Trainer measures: `rows`, batched by `collate` without noise, `times` in the run."""

    rows: Rows
    collate: Collator
    times: int

    def is_due(self, step: int, max_steps: int) -> bool:
        """Whether the loss is measured after `step`, from 1."""
        return step in validation_steps(max_steps, self.times)


def split_rows(rows: Rows, fraction: float, seed: int) -> Split:
    """`rows` in their order, `round(fraction * N)` of them held out.

    Raises:
        ConfigError: a fraction above zero holds no row out, or leaves none to train.
    """
    if fraction == 0:
        return Split(rows, None)
    held_out = held_out_indices(rows.row_ids, fraction, seed)
    if not 0 < len(held_out) < len(rows):
        trained = len(rows) - len(held_out)
        raise ConfigError(
            f"training.validation_fraction is {fraction} of {len(rows)} rows: {len(held_out)} would be held out and "
            f"{trained} trained, expected at least one of each; {'lower' if held_out else 'raise'} the fraction, or "
            "take more rows"
        )
    training = sorted({*range(len(rows))} - {*held_out})
    return Split(rows.subset(training), rows.subset(held_out))


def held_out_indices(row_ids: Sequence[str], fraction: float, seed: int) -> list[int]:
    """The indices, ascending, of the `round(fraction * N)` rows whose hashes of seed and row id are the smallest."""

    def key(index: int) -> bytes:
        return blake2b(f"{seed}/validation/{row_ids[index]}".encode(), digest_size=16).digest()

    return sorted(sorted(range(len(row_ids)), key=key)[: round(fraction * len(row_ids))])


def validation_steps(max_steps: int, times: int) -> set[int]:
    """`ceil(i * max_steps / times)` for i from 1 to `times`: the last step is one; every step where there are fewer."""
    return {-(-number * max_steps // times) for number in range(1, times + 1)}
