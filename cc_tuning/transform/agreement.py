"""Whether a predicted vector points to its own English prompt, which R² does not say.

Everything is taken about means by language and layer over the fitted pairs, predictions about those of predictions, so
that a constant is worth nothing here either. Then, on held-out pairs and layer by layer,

- the cosine between prediction and English activation, averaged over pairs;
- how often the English prompt whose activation is nearest to the prediction, by cosine, is the pair's own or one with
  the same text, among the first 200 held-out pairs. By chance it is as often as one in the number of texts.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.prediction import Predictor
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool

CANDIDATES = 200
_FEWEST = 2
"""Fitted pairs that a language needs for its means."""
_SIDES = ("transform", "identity", "english")


def measure_agreement(
    spool: ActivationSpool,
    transform: TransformMatrix,
    languages: Mapping[str, Sequence[str]],
    texts: Sequence[object],
    codes: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """`held_out_cosine` and `held_out_found`, means over layers, the same of `identity_`, each also by layer
    (`held_out_layer_…`), and `held_out_candidates`, how many pairs were searched among; None where there were fewer
    than two.

    Args:
        languages: by split, the language of each pair in the order in which pairs were given to the spool.
        texts: what tells the English prompts of the held-out pairs apart, in that order.
        codes: as `languages`, FLORES codes, for a map with an intercept for each language.
    """
    predicted = Predictor(transform, codes, spool.device)
    names, means = _means(spool, predicted, languages[FIT])
    places = [place for place, name in enumerate(languages[HELD_OUT]) if name in names][:CANDIDATES]
    if len(places) < 2:
        empty = {name: None for of in ("", "identity_") for name in (f"held_out_{of}cosine", f"held_out_{of}found")}
        return {**empty, "held_out_candidates": len(places)}
    sides = _centred(spool, predicted, means, [names.index(languages[HELD_OUT][place]) for place in places], places)
    ids = {text: number for number, text in enumerate(dict.fromkeys(texts[place] for place in places))}
    of_rows = torch.tensor([ids[texts[place]] for place in places], device=spool.device)
    figures: dict[str, Any] = {"held_out_candidates": len(places)}
    for name, owner in (("transform", ""), ("identity", "identity_")):
        cosines, found = _by_layer(sides[name], sides["english"], of_rows)
        figures |= {f"held_out_layer_{owner}cosine": cosines, f"held_out_{owner}cosine": fmean(cosines)}
        figures |= {f"held_out_layer_{owner}found": found, f"held_out_{owner}found": fmean(found)}
    return figures


def _means(
    spool: ActivationSpool, predicted: Predictor, languages: Sequence[str]
) -> tuple[list[str], dict[str, Tensor]]:
    """The languages that have enough fitted pairs, and the means of each side, `[Q, L, D]` float64."""
    names = sorted({name for name in languages if languages.count(name) >= _FEWEST})
    order = {name: at for at, name in enumerate(names)}
    at = torch.tensor([order.get(name, len(names)) for name in languages], device=spool.device)
    shape = (len(names) + 1, spool.layers, spool.hidden_size)
    sums = {side: torch.zeros(shape, dtype=torch.float64, device=spool.device) for side in _SIDES}
    for batch in spool.batches(FIT):
        rows = (predicted(FIT, batch), batch.activations.double(), batch.english_activations.double())
        for side, of in zip(_SIDES, rows, strict=True):
            sums[side].index_add_(0, at[batch.places], of)
    counts = torch.bincount(at, minlength=len(names) + 1).clamp(min=1)[:, None, None]
    return names, {side: (of / counts)[:-1] for side, of in sums.items()}


def _centred(
    spool: ActivationSpool,
    predicted: Predictor,
    means: Mapping[str, Tensor],
    languages: Sequence[int],
    places: Sequence[int],
) -> dict[str, Tensor]:
    """The rows at `places` of the held-out pairs about their languages' means, `[C, L, D]` each side."""
    shape = (len(places), spool.layers, spool.hidden_size)
    sides = {side: torch.zeros(shape, dtype=torch.float64, device=spool.device) for side in _SIDES}
    row_of = {place: row for row, place in enumerate(places)}
    for batch in spool.batches(HELD_OUT):
        taken = [number for number, place in enumerate(batch.places.tolist()) if place in row_of]
        rows = [row_of[int(batch.places[number])] for number in taken]
        groups = [languages[row] for row in rows]
        of_batch = (predicted(HELD_OUT, batch), batch.activations.double(), batch.english_activations.double())
        for side, of in zip(_SIDES, of_batch, strict=True):
            sides[side][rows] = of[taken] - means[side][groups]
    return sides


def _by_layer(found: Tensor, english: Tensor, texts: Tensor) -> tuple[list[float], list[float]]:
    """The mean cosine and the share that finds its own text, `[L]` each; a row that does not vary finds nothing."""
    a, b = (torch.nn.functional.normalize(side, dim=2) for side in (found, english))
    cosines = torch.einsum("cld,cld->l", a, b) / len(a)
    similarity = torch.einsum("cld,eld->lce", a, b)
    nearest = texts[similarity.argmax(2)] == texts
    varies = a.square().sum(2).T > 0
    return cosines.tolist(), (nearest & varies).double().mean(1).tolist()
