"""Which pairs the Transform Matrix is fitted on, and their activations.

Pairs are drawn by the hash of seed and `pair_id`, so the same pairs are drawn whatever their order or number of
workers, and adding rows to the data set moves only few of them. English rows are left out: there `x_en = x`, the two
sides are equal, and fitting them would teach the identity and flatter the error.
Both prompts of a pair travel together under its id; nothing is matched by position in a listing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.model import CrossLingualModel
from cc_tuning.text.prompts import ChatPrompts, connection_position
from data_contracts.quarantine import quarantine_rows

LONGER_THAN_CONTEXT = "prompt_longer_than_context"


@dataclass(frozen=True)
class SampledPair:
    """The token ids of a pair's rendered prompts."""

    pair_id: str
    input_ids: list[int]
    english_input_ids: list[int]


@dataclass(frozen=True)
class Sample:
    """The drawn pairs, those held out from the fit, and rows set aside on the way."""

    fit: list[SampledPair]
    held_out: list[SampledPair]
    quarantined: pl.DataFrame
    """In the form of `QuarantinedRow`."""


@dataclass(frozen=True)
class ActivationBatch:
    """`F` and `F_en` of some pairs at their connection positions, both `[n, L, D]` in the model's dtype."""

    activations: Tensor
    english_activations: Tensor
    places: Tensor
    """Where each pair stands among the pairs that were given, `[n]` int64."""


def draw_pairs(
    pairs: pl.DataFrame, prompts: ChatPrompts, *, count: int, held_out_fraction: float, seed: int, context_tokens: int
) -> Sample:
    """Up to `count` non-English pairs in the order of their hashes; the last `held_out_fraction` of them are held out.

    A pair with a prompt longer than `context_tokens` is set aside and the next one takes its place. Two pairs or more
    always leave at least one on either side (unless the fraction is 0).
    """
    foreign = pairs.filter(pl.col("origin") != "english")
    by_hash = sorted(foreign.iter_rows(named=True), key=lambda row: _hash(seed, row["pair_id"]))
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


def sampled_activations(
    model: CrossLingualModel, pairs: Sequence[SampledPair], batch_size: int, padding_id: int
) -> Iterator[ActivationBatch]:
    """The activations of `pairs`, batch by batch, from unfused passes (Ye et al. 2025, section 3.2.2).

    Batches are right padded and made of prompts of similar length; `places` says which pairs they hold.

    Raises:
        TransformFailed: an activation is NaN or infinite; names the pairs.
    """

    def length(place: int) -> tuple[int, int, str]:
        return len(pairs[place].input_ids), len(pairs[place].english_input_ids), pairs[place].pair_id

    by_length = sorted(range(len(pairs)), key=length)
    for first in range(0, len(by_length), batch_size):
        places = by_length[first : first + batch_size]
        batch = [pairs[place] for place in places]
        activations = _activations(model, [pair.input_ids for pair in batch], padding_id)
        english = _activations(model, [pair.english_input_ids for pair in batch], padding_id)
        _check_finite(batch, activations, english)
        yield ActivationBatch(activations, english, torch.tensor(places))


def _activations(model: CrossLingualModel, prompts: Sequence[list[int]], padding_id: int) -> Tensor:
    width = max(map(len, prompts))
    input_ids = torch.full((len(prompts), width), padding_id)
    attention_mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, ids in enumerate(prompts):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
    positions = torch.tensor([connection_position(len(ids), model.connection.offset) for ids in prompts])
    device = model.device
    return model.activations(input_ids.to(device), attention_mask.to(device), positions.to(device))


def _check_finite(batch: Sequence[SampledPair], *sides: Tensor) -> None:
    finite = torch.stack([torch.isfinite(side).flatten(1).all(1) for side in sides]).all(0)
    if not finite.all():
        broken = [pair.pair_id for pair, good in zip(batch, finite.tolist(), strict=True) if not good]
        raise TransformFailed(
            f"{len(broken)} of {len(batch)} pairs have activations that are NaN or infinite, pair_id {broken[:5]}; "
            "the checkpoint has diverged or its dtype is too narrow for it: look at its training loss"
        )


def _held_out_count(pairs: int, fraction: float) -> int:
    if pairs < 2 or fraction == 0:
        return 0
    return min(max(round(pairs * fraction), 1), pairs - 1)


def _hash(seed: int, pair_id: str) -> str:
    return hashlib.sha256(f"{seed}\n{pair_id}".encode()).hexdigest()
