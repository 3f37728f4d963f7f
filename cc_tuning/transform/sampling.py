"""The pairs that the Transform Matrix is fitted on.

Pairs are drawn by the hash of seed and `pair_id`, so the same pairs are drawn whatever their order or number of
workers, and adding rows to the data set moves only few of them. English rows are left out: there `x_en = x`, the two
sides are equal, and fitting them would teach the identity and flatter the error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from cc_tuning.text.draws import draw_order
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.transform.activations import SampledPair
from cc_tuning.transform.spool import FIT, HELD_OUT
from data_contracts.quarantine import quarantine_rows

LONGER_THAN_CONTEXT = "prompt_longer_than_context"
_ROW = ("pair_id", "inputs", "targets")


@dataclass(frozen=True)
class Sample:
    """The drawn pairs, those held out from the fit, and rows set aside on the way."""

    fit: list[SampledPair]
    held_out: list[SampledPair]
    quarantined: pl.DataFrame
    """Rows in the form of `QuarantinedRow`."""

    @property
    def sides(self) -> Mapping[str, list[SampledPair]]:
        """The pairs by split."""
        return {FIT: self.fit, HELD_OUT: self.held_out}


def draw_pairs(
    pairs: pl.DataFrame,
    prompts: ChatPrompts,
    *,
    count: int,
    held_out_fraction: float,
    seed: int,
    context_tokens: int,
    with_responses: bool = False,
) -> Sample:
    """Up to `count` non-English pairs in the order of their hashes, about the last `held_out_fraction` held out.

    No English prompt is on both sides: all pairs that have it go the same way, or the held-out error would count
    prompts whose English activations were fitted. A pair with a prompt longer than `context_tokens` is set aside and
    the next one takes its place. Pairs of two English prompts or more always leave some on either side (unless the
    fraction is 0). `with_responses` gives the held-out pairs the ids of their responses.
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
            drawn.append(SampledPair(row["pair_id"], ids, english_ids, row["language_code"], row["flores_code"]))
    fit, held_out = _split_by_english(drawn, _held_out_count(len(drawn), held_out_fraction))
    quarantined = quarantine_rows(
        foreign.filter(pl.col("pair_id").is_in(too_long)), "pair_id", LONGER_THAN_CONTEXT,
        f"a rendered prompt has more than the model's {context_tokens} tokens",
    )  # fmt: skip
    if with_responses:
        held_out = _with_responses(held_out, foreign, prompts, context_tokens)
    return Sample(fit, held_out, quarantined)


def _with_responses(
    held_out: Sequence[SampledPair], rows: pl.DataFrame, prompts: ChatPrompts, context_tokens: int
) -> list[SampledPair]:
    texts = {pair_id: (text, answer.strip()) for pair_id, text, answer in rows.select(*_ROW).iter_rows()}
    examples = prompts.encode_examples(*zip(*(texts[pair.pair_id] for pair in held_out), strict=True))
    return [
        replace(pair, response_ids=tuple(example.input_ids[example.prompt_length : -1]))
        if len(example.input_ids) <= context_tokens
        else pair
        for pair, example in zip(held_out, examples, strict=True)
    ]


def _split_by_english(drawn: Sequence[SampledPair], wanted: int) -> tuple[list[SampledPair], list[SampledPair]]:
    """Fitted and held-out pairs: English prompts are held out from the last one backwards until `wanted` pairs are.

    A prompt of so many pairs that more than twice as many would be held out is left in the fit; the rarest one is held
    out where that leaves none.
    """
    pairs_of = Counter(tuple(pair.english_input_ids) for pair in drawn)
    prompts = list(dict.fromkeys(tuple(pair.english_input_ids) for pair in reversed(drawn)))
    held_out: set[tuple[int, ...]] = set()
    number = 0
    for prompt in prompts:
        if number < wanted and number + pairs_of[prompt] <= min(2 * wanted, len(drawn) - 1):
            held_out.add(prompt)
            number += pairs_of[prompt]
    if wanted and not held_out and len(prompts) > 1:
        held_out.add(min(prompts, key=pairs_of.__getitem__))
    sides: tuple[list[SampledPair], list[SampledPair]] = ([], [])
    for pair in drawn:
        sides[tuple(pair.english_input_ids) in held_out].append(pair)
    return sides


def _held_out_count(pairs: int, fraction: float) -> int:
    if pairs < 2 or fraction == 0:
        return 0
    return min(max(round(pairs * fraction), 1), pairs - 1)
