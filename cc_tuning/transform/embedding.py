"""Where prompts of three languages stand in a model's output space, before and after tuning (the paper's Figure 7).

A prompt's vector is the mean of the decoder's last hidden states over its tokens, from a pass without a connection.
English and the two languages with the most sampled pairs are shown. The picture is the first two principal components:
a linear map, in which distances are distances, and the same for every run on the same numbers; the paper's t-SNE is
neither. Two figures say in all dimensions what the picture can only suggest:

- `nearest_is_parallel`: the share of prompts whose nearest English prompt (by cosine, about the mean of each side) is
  their own parallel, or one with the same text;
- `language_share`: the share of the vectors' variance that lies between the means of languages, between 0 and 1.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cc_tuning.model.families import find_components
from cc_tuning.model.positions import position_ids_of
from cc_tuning.runtime.padding import padded
from cc_tuning.transform.activations import SampledPair

_LANGUAGES = 2
"""Beside English."""
_PAIRS = 100
"""Of each language; with their English prompts 400 points."""
ENGLISH = "eng"


@dataclass(frozen=True)
class _Sides:
    """The vectors of both sides of the pairs, `[n, D]` float64 each."""

    own: Tensor
    english: Tensor


def embedded_pairs(pairs: Sequence[SampledPair]) -> list[SampledPair]:
    """The first pairs of the two languages that have the most; fewer languages where there are fewer."""
    counts = Counter(pair.language_code for pair in pairs)
    chosen = sorted(counts, key=lambda code: (-counts[code], code))[:_LANGUAGES]
    return [pair for code in chosen for pair in [at for at in pairs if at.language_code == code][:_PAIRS]]


@torch.no_grad()
def embedding(
    model: PreTrainedModel, pairs: Sequence[SampledPair], batch_size: int, padding_id: int
) -> Mapping[str, Any]:
    """The figures of this module and the picture: `variance_shown`, two shares, and `points`, each with pair_id,
    language_code (`eng` for the English side), x and y. Nothing is drawn of fewer than three vectors.
    """
    sides = _Sides(
        _vectors(model, [pair.input_ids for pair in pairs], batch_size, padding_id),
        _vectors(model, [pair.english_input_ids for pair in pairs], batch_size, padding_id),
    )
    vectors = torch.cat([sides.own, sides.english])
    languages = [*(pair.language_code for pair in pairs), *([ENGLISH] * len(pairs))]
    coordinates, shown = _principal_components(vectors)
    points = [
        {"pair_id": pair.pair_id, "language_code": language, "x": x, "y": y}
        for pair, language, (x, y) in zip([*pairs, *pairs], languages, coordinates.tolist(), strict=True)
    ]
    return {
        "pairs": len(pairs),
        "nearest_is_parallel": _nearest_is_parallel(sides, pairs),
        "language_share": _language_share(vectors, languages),
        "variance_shown": shown,
        "points": points,
    }


def _vectors(model: PreTrainedModel, prompts: Sequence[list[int]], batch_size: int, padding_id: int) -> Tensor:
    """`[n, D]` float64 in the order of the prompts; batches are of similar length."""
    decoder, device = find_components(model).decoder, model.device
    by_length = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
    found: dict[int, Tensor] = {}
    for first in range(0, len(by_length), batch_size):
        places = by_length[first : first + batch_size]
        ids, mask = (each.to(device) for each in padded([prompts[place] for place in places], padding_id))
        hidden = decoder(
            input_ids=ids, attention_mask=mask, position_ids=position_ids_of(mask), use_cache=False
        ).last_hidden_state.double()
        means = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        found |= zip(places, means.cpu(), strict=True)
    return torch.stack([found[place] for place in range(len(prompts))])


def _principal_components(vectors: Tensor) -> tuple[Tensor, list[float]]:
    """Coordinates `[n, 2]` and the share of the variance that each holds; a component's largest loading is positive."""
    centred = vectors - vectors.mean(0)
    _, sizes, components = torch.linalg.svd(centred, full_matrices=False)
    components = components[:2]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    squares = sizes.square()
    return centred @ (components * largest.sign()).T, (squares[:2] / squares.sum().clamp(min=1e-300)).tolist()


def _nearest_is_parallel(sides: _Sides, pairs: Sequence[SampledPair]) -> float:
    own, english = (side - side.mean(0) for side in (sides.own, sides.english))
    own, english = (side / side.norm(dim=1, keepdim=True).clamp(min=1e-300) for side in (own, english))
    texts = [tuple(pair.english_input_ids) for pair in pairs]
    nearest = (own @ english.T).argmax(1).tolist()
    return sum(texts[found] == texts[place] for place, found in enumerate(nearest)) / len(pairs)


def _language_share(vectors: Tensor, languages: Sequence[str]) -> float | None:
    """`Σ_q n_q ‖mean_q − mean‖² / Σ ‖vector − mean‖²`; None where all vectors are equal."""
    mean = vectors.mean(0)
    total = float((vectors - mean).square().sum())
    between = 0.0
    for language in sorted(set(languages)):
        of_language = vectors[[at == language for at in languages]]
        between += len(of_language) * float((of_language.mean(0) - mean).square().sum())
    return between / total if total > 0 else None
