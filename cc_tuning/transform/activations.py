"""The activations that the Transform Matrix is fitted on: of a pair's two prompts, at t* of each.

Both prompts of a pair travel together under its id; nothing is matched by position in a listing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.model import CrossLingualModel
from cc_tuning.runtime.padding import padded
from cc_tuning.text.prompts import connection_position


@dataclass(frozen=True)
class SampledPair:
    """The token ids of a pair's rendered prompts."""

    pair_id: str
    input_ids: list[int]
    english_input_ids: list[int]
    language_code: str = ""
    """Of the side that is not English."""
    flores_code: str = ""
    """The same language, as maps with an intercept for each know it."""
    response_ids: Sequence[int] = ()
    """Of the pair's own response without the end of the turn, where likelihoods are asked for; none where it is blank
    or does not fit the model's context behind the prompt."""


@dataclass(frozen=True)
class ActivationBatch:
    """`F` and `F_en` of some pairs at their connection positions, both `[n, L, D]` in the model's dtype."""

    activations: Tensor
    english_activations: Tensor
    places: Tensor
    """Where each pair stands among the pairs that were given, `[n]` int64."""
    pooled: Tensor | None = None
    """The prompts' pooled states `[n, L−1, D]`, where they were asked for."""


def sampled_activations(
    model: CrossLingualModel,
    pairs: Sequence[SampledPair],
    batch_size: int,
    padding_id: int,
    with_pooled: bool = False,
) -> Iterator[ActivationBatch]:
    """The activations of `pairs`, batch by batch, from unfused passes (Ye et al. 2025, section 3.2.2); `with_pooled`
    their pooled states too.

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
        prompts = padded_prompts(model, [pair.input_ids for pair in batch], padding_id)
        pooled = None
        if with_pooled:
            activations, pooled = model.activations_with_pooled(*prompts)
        else:
            activations = model.activations(*prompts)
        english = model.activations(*padded_prompts(model, [pair.english_input_ids for pair in batch], padding_id))
        _check_finite(batch, activations, english, *(() if pooled is None else (pooled,)))
        yield ActivationBatch(activations, english, torch.tensor(places), pooled)


def padded_prompts(
    model: CrossLingualModel, prompts: Sequence[list[int]], padding_id: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and t* of prompts, on the model's device."""
    input_ids, attention_mask = padded(prompts, padding_id)
    positions = torch.tensor([connection_position(len(ids), model.connection.offset) for ids in prompts])
    device = model.device
    return input_ids.to(device), attention_mask.to(device), positions.to(device)


def _check_finite(batch: Sequence[SampledPair], *sides: Tensor) -> None:
    finite = torch.stack([torch.isfinite(side).flatten(1).all(1) for side in sides]).all(0)
    if not finite.all():
        broken = [pair.pair_id for pair, good in zip(batch, finite.tolist(), strict=True) if not good]
        raise TransformFailed(
            f"{len(broken)} of {len(batch)} pairs have activations that are NaN or infinite, pair_id {broken[:5]}; "
            "the checkpoint has diverged or its dtype is too narrow for it: look at its training loss"
        )
