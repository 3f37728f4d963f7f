"""The ridge by cross-validation over folds that share no English prompt.

    λ = argmin Σ_f ‖A_f W_−f(λ) − B_f‖²,    W_−f(λ) fitted on the rows of all folds but f

Pairs with one English prompt have one target, and a fold that has it twice, fitted and held out, measures memory; so
all pairs of an English prompt are in one fold, and so are all layers of a pair. Nothing but moments by fold is needed:
with `A_−fᵀA_−f = V diag(d) Vᵀ`, `P = Vᵀ A_−fᵀB_−f`, and the moments of the fold itself,

    ‖A_f W − B_f‖² = ‖B_f‖² − 2 Σ_i s_i (P ∘ Q)_i + sᵀ (M ∘ PPᵀ) s,    s_i = 1/(d_i + λ)

where `Q = Vᵀ A_fᵀB_f`, `(P ∘ Q)_i` is the product of the rows i of both, and `M = Vᵀ A_fᵀA_f V`. One decomposition a
fold gives the error of every λ. With intercepts all moments are about the means of the rows that are fitted.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.transform.activations import SampledPair
from cc_tuning.transform.cross_validation import best_ridge
from cc_tuning.transform.group_sums import GroupSums
from cc_tuning.transform.moments import StreamingMoments

_CURVE = [10.0 ** (exponent / 2) for exponent in range(-16, 7)]
"""Relative ridges of the stored curve, 1e-8 to 1e3."""


@dataclass(frozen=True)
class ChosenRidge:
    """A ridge by cross-validation, and the errors it was chosen from."""

    relative: float
    """In units of the mean of the diagonal."""
    mse: float
    """Over all held-out elements, with that ridge."""
    curve: Sequence[float]
    """The same with each of `curve_ridges`."""

    @staticmethod
    def curve_ridges() -> list[float]:
        """The relative ridges of a curve."""
        return list(_CURVE)


def curves_of(chosen: Sequence[ChosenRidge]) -> Mapping[str, Any]:
    """What is stored of choices, flat: `cv_relative_ridges`, and for each choice `cv_curves` and `cv_mse`."""
    return {
        "cv_relative_ridges": ChosenRidge.curve_ridges(),
        "cv_curves": [list(of.curve) for of in chosen],
        "cv_mse": [of.mse for of in chosen],
    }


def folds_of(pairs: Sequence[SampledPair], folds: int, seed: int) -> list[int]:
    """The fold of each pair, 0 to `folds` - 1 or fewer; pairs of one English prompt are in one.

    Prompts of many pairs come first, each into the fold that has the fewest pairs so far; ties by a hash of seed and
    prompt, so that the order of the pairs does not matter.

    Raises:
        TransformFailed: there are fewer than two English prompts.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(tuple(pair.english_input_ids), []).append(place)
    if len(places) < 2:
        raise TransformFailed(
            f"no ridge by cross-validation: the {len(pairs)} fitted pairs have {len(places)} English prompt, at least "
            "two are needed. Sample more pairs, or give `transform.ridge` as a number"
        )
    sizes = [0] * min(folds, len(places))
    fold = [0] * len(pairs)
    for prompt in sorted(places, key=lambda ids: (-len(places[ids]), _hash(seed, ids))):
        smallest = sizes.index(min(sizes))
        sizes[smallest] += len(places[prompt])
        for place in places[prompt]:
            fold[place] = smallest
    return fold


def _hash(seed: int, ids: Sequence[int]) -> str:
    return hashlib.sha256(f"{seed} {' '.join(map(str, ids))}".encode()).hexdigest()


def choose_relative(error: Callable[[float], float], elements: int) -> ChosenRidge:
    """The relative ridge with the least `error`, a sum of squares over `elements` held-out numbers."""
    best = best_ridge(error, 1.0)
    return ChosenRidge(best, error(best) / elements, [error(ridge) / elements for ridge in _CURVE])


def choose_ridge(parts: Sequence[tuple[StreamingMoments, GroupSums]]) -> ChosenRidge:
    """The ridge of a matrix whose rows were summed fold by fold."""
    whole = StreamingMoments.total([moments for moments, _ in parts])
    groups = GroupSums.total([sums for _, sums in parts])
    errors = [_fold_error(whole, groups, moments, sums) for moments, sums in parts]
    return choose_relative(lambda relative: sum(of(relative) for of in errors), whole.rows * len(whole.cross))


class HeldOutError:
    """`‖A_f W_−f(λ) − B_f‖²` by relative λ, from what the module's equation needs."""

    def __init__(self, squares: float, eigenvalues: Tensor, linear: Tensor, square: Tensor, unit: float) -> None:
        """`squares` ‖B_f‖², `eigenvalues` d `[r]`, `linear` (P ∘ Q) `[r]`, `square` M ∘ PPᵀ `[r, r]`, and `unit` the
        mean of the diagonal that λ is relative to.
        """
        self._squares, self._eigenvalues, self._unit = squares, eigenvalues, unit
        self._linear, self._square = linear, square

    def __call__(self, relative: float) -> float:
        s = 1 / (self._eigenvalues + relative * self._unit)
        return max(self._squares - 2 * float(s @ self._linear) + float(s @ self._square @ s), 0.0)


def _fold_error(whole: StreamingMoments, groups: GroupSums, moments: StreamingMoments, sums: GroupSums) -> HeldOutError:
    fitted = groups.without(sums)
    gram, cross, _ = fitted.about(whole.gram - moments.gram, whole.cross - moments.cross, 0.0, fitted)
    own_gram, own_cross, squares = sums.about(moments.gram, moments.cross, moments.english_squares, fitted)
    eigenvalues, V = torch.linalg.eigh(gram)
    kept = eigenvalues > torch.finfo(gram.dtype).eps * len(gram) * float(torch.linalg.matrix_norm(whole.gram))
    eigenvalues, V = eigenvalues[kept], V[:, kept]
    P = V.T @ cross
    linear, square = (P * (V.T @ own_cross)).sum(1), (V.T @ own_gram @ V) * (P @ P.T)
    return HeldOutError(squares, eigenvalues, linear, square, float(gram.diagonal().mean()))
