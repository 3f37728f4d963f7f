"""The pairs that the Transform Matrix is fitted on.

Pairs are drawn by the hash of seed and `pair_id`, so the same pairs are drawn whatever their order or number of
workers, and adding rows to the data set moves only few of them. English rows are left out: there `x_en = x`, the two
sides are equal, and fitting them would teach the identity and flatter the error.
"""

from dataclasses import dataclass

import polars as pl

from cc_tuning.text.draws import draw_order
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.transform.activations import SampledPair
from data_contracts.quarantine import quarantine_rows

LONGER_THAN_CONTEXT = "prompt_longer_than_context"


@dataclass(frozen=True)
class Sample:
    """The drawn pairs, those held out from the fit, and rows set aside on the way."""

    fit: list[SampledPair]
    held_out: list[SampledPair]
    quarantined: pl.DataFrame
    """Rows in the form of `QuarantinedRow`."""


def draw_pairs(
    pairs: pl.DataFrame, prompts: ChatPrompts, *, count: int, held_out_fraction: float, seed: int, context_tokens: int
) -> Sample:
    """Up to `count` non-English pairs in the order of their hashes; the last `held_out_fraction` of them are held out.

    A pair with a prompt longer than `context_tokens` is set aside and the next one takes its place. Two pairs or more
    always leave at least one on either side (unless the fraction is 0).
    """
    foreign = pairs.filter(pl.col("origin") != "english")
    by_hash = sorted(foreign.iter_rows(named=True), key=lambda row: draw_order(seed, row["pair_id"]))
    drawn: list[SampledPair] = []
    too_long: list[str] = []
    for row in by_hash:
        if len(drawn) == count:
            break
        ids, english_ids = prompts.encode_prompts([row["inputs"], row["inputs_en"]])
        if max(len(ids), len(english_ids)) > context_tokens:
            too_long.append(row["pair_id"])
        else:
            drawn.append(SampledPair(row["pair_id"], ids, english_ids))
    held_out = _held_out_count(len(drawn), held_out_fraction)
    quarantined = quarantine_rows(
        foreign.filter(pl.col("pair_id").is_in(too_long)), "pair_id", LONGER_THAN_CONTEXT,
        f"a rendered prompt has more than the model's {context_tokens} tokens",
    )  # fmt: skip
    return Sample(drawn[: len(drawn) - held_out], drawn[len(drawn) - held_out :], quarantined)


def _held_out_count(pairs: int, fraction: float) -> int:
    if pairs < 2 or fraction == 0:
        return 0
    return min(max(round(pairs * fraction), 1), pairs - 1)
