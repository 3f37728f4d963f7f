"""How much of a language's English activations the matrix predicts beyond a constant.

Over all rows together a constant is nearly enough: activations differ far more between layers and languages than
between prompts, so R² about one mean is near 1 for predictors that know nothing of the prompt. Here every language and
layer has its own mean, that of its fitted pairs, and what is left is what a prompt is about:

    R²_l = 1 − Σ_p ‖prediction_pl − B_pl‖² / Σ_p c_q ‖B_pl − m_ql‖²,    q the language of pair p

and the headline is the mean of R²_l over layers, so that no layer with large activations speaks for all. A mean of n
fitted rows is itself off by 1/n of the variance, which would make every predictor look better on new rows; c_q =
n/(n + 1) there, and n/(n − 1) on the fitted rows themselves, takes that out. Languages with fewer than two fitted pairs
are counted and left out. 0 is what a constant per language and layer reaches, and negative values are worse than that.

The varying share, `Σ_p c_q ‖B_pl − m_ql‖² / Σ_p ‖B_pl‖²` over the fitted rows, says how much of ‖F_en‖² depends on the
prompt at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.prediction import Predictor
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool

_FEWEST = 2
"""Fitted pairs that a language needs for a mean and a variance."""


@dataclass(frozen=True)
class _Means:
    """The mean English activation of every language and layer over the fitted pairs."""

    languages: Sequence[str]
    counts: Tensor
    """`[Q]` fitted pairs."""
    means: Tensor
    """`[Q, L, D]` float64."""


class _Squares:
    """Sums over rows, by language and layer, all `[Q, L]` float64."""

    def __init__(self, languages: int, layers: int, device: torch.device) -> None:
        self.pairs = torch.zeros(languages, dtype=torch.int64, device=device)
        self.transform, self.identity, self.spread, self.norm = (
            torch.zeros(languages, layers, dtype=torch.float64, device=device) for _ in range(4)
        )

    def add(self, at: Tensor, **squares: Tensor) -> None:
        """Add `[n, L]` sums of rows whose languages are `at [n]`."""
        self.pairs += torch.bincount(at, minlength=len(self.pairs))
        for name, of_rows in squares.items():
            getattr(self, name).index_add_(0, at, of_rows)


def measure_within(
    spool: ActivationSpool,
    transform: TransformMatrix,
    languages: Mapping[str, Sequence[str]],
    codes: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The figures of this module, flat, those of held-out pairs prefixed `held_out_`.

    `within_r2` and `within_identity_r2` (means over layers), `layer_within_r2`, `layer_within_identity_r2`,
    `within_pairs` (measured), `within_pairs_left_out`; `constant_mse`, the error of the constants over the pairs whose
    language has one; `varying_share`, `layer_varying_share` of the fitted pairs; `within_languages`: by language
    `pairs`, `held_out_pairs` and `held_out_within_r2`. None where nothing varies or nothing was measured.

    Args:
        languages: by split, the language of each pair in the order in which pairs were given to the spool.
        codes: the same as FLORES codes, for a map with an intercept for each language.
    """
    means = _fitted_means(spool, languages[FIT])
    predicted = Predictor(transform, codes, spool.device)
    by_split = {split: _squares(spool, predicted, means, split, languages[split]) for split in (FIT, HELD_OUT)}
    held_out = _figures(by_split[HELD_OUT], means, HELD_OUT)
    return {
        **_figures(by_split[FIT], means, FIT),
        **{f"held_out_{name}": value for name, value in held_out.items()},
        "within_languages": _by_language(by_split, means),
    }


def _fitted_means(spool: ActivationSpool, languages: Sequence[str]) -> _Means:
    names = sorted(set(languages))
    places = torch.tensor([names.index(name) for name in languages], dtype=torch.int64, device=spool.device)
    sums = torch.zeros(len(names), spool.layers, spool.hidden_size, dtype=torch.float64, device=spool.device)
    for batch in spool.batches(FIT):
        sums.index_add_(0, places[batch.places], batch.english_activations.double())
    counts = torch.bincount(places, minlength=len(names))
    return _Means(names, counts, sums / counts.clamp(min=1)[:, None, None])


def _squares(
    spool: ActivationSpool, predicted: Predictor, means: _Means, split: str, languages: Sequence[str]
) -> _Squares:
    """Sums over the rows whose language has a mean; the last row of the places is for those that have none."""
    known = len(means.languages)
    order = {name: at for at, name in enumerate(means.languages)}
    places = torch.tensor([order.get(name, known) for name in languages], dtype=torch.int64, device=spool.device)
    padded = torch.cat([means.means, means.means.new_zeros(1, spool.layers, spool.hidden_size)])
    sums = _Squares(known + 1, spool.layers, spool.device)
    for batch in spool.batches(split):
        A, B = batch.activations.double(), batch.english_activations.double()
        at = places[batch.places]
        sums.add(
            at,
            transform=(predicted(split, batch) - B).square().sum(2),
            identity=(A - B).square().sum(2),
            spread=(B - padded[at]).square().sum(2),
            norm=B.square().sum(2),
        )
    return sums


def _figures(sums: _Squares, means: _Means, split: str) -> dict[str, Any]:
    """What is told of a split: R² over the languages that have a mean, and how many pairs that leaves out."""
    kept = _kept(means)
    spread = _variation(sums, means, split)[kept].sum(0)
    measured = int(sums.pairs[:-1][kept].sum())
    known = int(sums.pairs[:-1].sum()) * sums.spread.shape[1] * means.means.shape[2]
    constant = float(sums.spread[:-1].sum()) / known if known else None
    figures: dict[str, Any] = {"constant_mse": constant}
    figures |= {"within_pairs": measured, "within_pairs_left_out": int(sums.pairs.sum()) - measured}
    for name, squares in (("", sums.transform), ("identity_", sums.identity)):
        layers = _r2(squares[:-1][kept].sum(0), spread)
        figures |= {f"layer_within_{name}r2": layers, f"within_{name}r2": _mean(layers)}
    if split == FIT:
        shares = _ratios(spread, sums.norm[:-1][kept].sum(0))
        figures |= {"layer_varying_share": shares, "varying_share": _mean(shares)}
    return figures


def _by_language(by_split: Mapping[str, _Squares], means: _Means) -> dict[str, dict[str, Any]]:
    held_out, kept = by_split[HELD_OUT], _kept(means).tolist()
    spread = _variation(held_out, means, HELD_OUT)
    return {
        name: {
            "pairs": int(means.counts[at]),
            "held_out_pairs": int(held_out.pairs[at]),
            "held_out_within_r2": _mean(_r2(held_out.transform[at], spread[at])) if kept[at] else None,
        }
        for at, name in enumerate(means.languages)
    }


def _kept(means: _Means) -> Tensor:
    """`[Q]`: which languages have enough fitted pairs."""
    return means.counts >= _FEWEST


def _variation(sums: _Squares, means: _Means, split: str) -> Tensor:
    """`[Q, L]`: squares about the language's mean, with what the noise of that mean adds or takes away put right."""
    counts = means.counts.double()[:, None]
    correction = counts / (counts - 1).clamp(min=1) if split == FIT else counts / (counts + 1)
    return sums.spread[:-1] * correction


def _r2(squares: Tensor, spread: Tensor) -> list[float | None]:
    return [None if ratio is None else 1 - ratio for ratio in _ratios(squares, spread)]


def _ratios(parts: Tensor, wholes: Tensor) -> list[float | None]:
    """`[L]` quotients; None where there is nothing to divide by."""
    return [part / whole if whole > 0 else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)]


def _mean(layers: Sequence[float | None]) -> float | None:
    """The mean over layers, all of which must have a figure."""
    known = [value for value in layers if value is not None]
    return fmean(known) if known and len(known) == len(layers) else None
