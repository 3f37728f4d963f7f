"""The map from the activations of all layers, or from pooled states, in the dual: as many unknowns as pairs.

With P features a pair, more than there are pairs, `X [N, P]` and the stacked targets `B [N, L·D]`,

    W = Xᵀ (K + λI)⁻¹ B,    K = X Xᵀ        (Saunders, Gammerman and Vovk 1998, eq. 6)

so `K` and `B Bᵀ`, summed layer by layer in float64, are all that is looked at: the ridge is chosen on them, by
cross-validation over folds or GCV, and the factors are read off in one more pass. W itself, P × L·D, is never made. It
is cut to rank r so that it loses least by the criterion it was fitted by: `‖XW − B‖² + λ‖W‖²` rises by
`‖(W − W_r)‖²` in the norm of `XᵀX + λI`, whose best approximation keeps the leading eigenvectors of

    Bᵀ H B,    H = K (K + λI)⁻¹              (Mukherjee and Zhu 2011, *Reduced rank ridge regression*, section 2)

With them, `U = Xᵀ (K + λI)⁻¹ B V_r` and `V = V_rᵀ`, `W_r = U V`. Each layer of features and of targets is divided by
its spread about the languages' means, so that no layer speaks for all; the stored factors take raw activations. A ridge
is relative to the mean of the diagonal of K.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.runtime.provenance import readable_bytes
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.cross_validation import RidgeScore, best_ridge
from cc_tuning.transform.folds import ChosenRidge, HeldOutError, choose_relative
from cc_tuning.transform.solve import TransformFit
from cc_tuning.transform.spool import FIT, ActivationSpool

_KERNELS = 8
"""`[N, N]` float64 matrices at the peak: the two kernels, an eigendecomposition with its workspace, products."""


@dataclass(frozen=True)
class DualFit:
    """The factored map in float32, how it was fitted, and the choice of its ridge where that was by folds."""

    transform: TransformMatrix
    fit: TransformFit
    english_mean: Tensor
    """The mean of the fitted rows of B over all layers, `[D]` float64."""
    chosen: ChosenRidge | None


@dataclass(frozen=True)
class _Side:
    """The kernel of features or of targets, and what each layer is divided by before it is added."""

    kernel: Tensor
    """`[N, N]`."""
    spreads: Sequence[float]
    """Sums of squares about the groups' means; 0 where a layer does not vary."""


@dataclass(frozen=True)
class Groups:
    """Which group, a language or all pairs together, each fitted pair is in."""

    of_pairs: Tensor
    """`[N]` int64."""
    count: int
    """0: no intercept, nothing is taken about a mean."""

    def averages(self, fitted: Tensor) -> Tensor:
        """`[Q, N]`: the rows that take the mean over the `fitted [N]` bool pairs of each group; over all fitted pairs
        for a group that has none.
        """
        rows = torch.nn.functional.one_hot(self.of_pairs, max(self.count, 1)).T[: self.count].double() * fitted
        totals = rows.sum(1, keepdim=True)
        return torch.where(totals > 0, rows / totals.clamp(min=1), fitted.double() / fitted.sum())


def needed_bytes(pairs: int, layers: int, hidden_size: int, rank: int) -> int:
    """Memory of a fit in the dual: kernels, a layer of rows, and the factors."""
    return 8 * (_KERNELS * pairs**2 + 4 * pairs * hidden_size) + 4 * 4 * layers * hidden_size * min(rank, pairs)


def free_bytes(device: torch.device) -> int:
    """The memory of the device that can be had."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fit_dual(
    spool: ActivationSpool, config: FitConfig, groups: Groups, folds: Sequence[int], memory: int | None = None
) -> DualFit:
    """The map that `config` asks for, from all pairs of the split `fit`; `folds` gives the fold of each.

    `memory` is what the fit may take, in bytes; by default all that the device has.

    Raises:
        TransformFailed: the fit needs more memory, or no feature varies.
    """
    pairs = spool.pairs[FIT]
    needed = needed_bytes(pairs, spool.layers, spool.hidden_size, config.rank)
    memory = free_bytes(spool.device) if memory is None else memory
    if needed > memory:
        raise TransformFailed(
            f"a map from `features: {config.features}` fitted on {pairs} pairs with {spool.layers} x "
            f"{spool.hidden_size} features needs {readable_bytes(needed)} of memory ({_KERNELS} kernels of {pairs}² in "
            f"float64) and there are {readable_bytes(memory)}. Sample fewer pairs (`transform.pairs`), or use "
            "`features: layer`"
        )
    features, targets = (_side(spool, name, groups) for name in (_rows_of(config), "english_activations"))
    everyone = torch.ones(pairs, dtype=torch.bool, device=spool.device)
    averages = groups.averages(everyone)
    K, KB = (_centred(side.kernel, averages, groups, everyone, everyone) for side in (features, targets))
    unit = float(K.diagonal().mean())
    if not unit > 0:
        raise TransformFailed(
            f"no map: the features of the {pairs} fitted pairs do not vary, so nothing fits; sample more pairs"
        )
    eigenvalues, vectors = torch.linalg.eigh(K)
    kept = eigenvalues > torch.finfo(K.dtype).eps * pairs * float(eigenvalues[-1])
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    turned = vectors.T @ KB @ vectors
    chosen, score, relative = None, None, config.ridge
    if relative == "cv":
        errors = [_fold_error(features.kernel, targets.kernel, groups, fold, folds) for fold in sorted(set(folds))]
        chosen = choose_relative(lambda ridge: sum(of(ridge) for of in errors), pairs * len(targets.spreads))
        relative = chosen.relative
    elif relative == "gcv":
        squares = eigenvalues * turned.diagonal()
        of = RidgeScore(eigenvalues, squares, float(KB.trace()), pairs, pairs - groups.count)
        relative = best_ridge(of, unit) / unit
        score = of(relative * unit)
    penalty = relative * unit
    transform = _factored(spool, config, groups, (features, targets), (eigenvalues, vectors, turned), penalty)
    largest, smallest = float(eigenvalues[-1]) + penalty, float(eigenvalues[0]) + penalty
    fit = TransformFit(
        transform.matrix, transform.intercept, pairs, transform.matrix.shape[1], penalty, relative, "dual",
        largest / smallest, score,
    )  # fmt: skip
    return DualFit(transform, fit, _english_mean(spool), chosen)


def _rows_of(config: FitConfig) -> str:
    return "pooled" if config.features == "pooled" else "activations"


def _side(spool: ActivationSpool, name: str, groups: Groups) -> _Side:
    pairs = spool.pairs[FIT]
    kernel = torch.zeros(pairs, pairs, dtype=torch.float64, device=spool.device)
    averages = groups.averages(torch.ones(pairs, dtype=torch.bool, device=spool.device))
    spreads = []
    for layer in range(spool.layers_of(name)):
        rows = spool.column(FIT, name, layer)
        # about one mean, since the kernels of folds are centred later: no large constant is squared
        rows = rows - rows.mean(0) if groups.count else rows
        about = rows - (averages @ rows)[groups.of_pairs] if groups.count else rows
        spread = float(about.square().sum())
        spreads.append(spread if spread > torch.finfo(rows.dtype).eps * float(rows.square().sum()) else 0.0)
        if spreads[-1]:
            kernel.addmm_(rows, rows.T, alpha=1 / spread)
    return _Side(kernel, spreads)


def _centred(kernel: Tensor, averages: Tensor, groups: Groups, rows: Tensor, columns: Tensor) -> Tensor:
    """Inner products of `rows` with `columns`, both masks, each about its group's mean."""
    if not groups.count:
        return kernel[rows][:, columns]
    left = kernel[rows] - (averages @ kernel)[groups.of_pairs[rows]]
    return left[:, columns] - (left @ averages.T)[:, groups.of_pairs[columns]]


def _fold_error(K: Tensor, KB: Tensor, groups: Groups, fold: int, folds: Sequence[int]) -> HeldOutError:
    """The error on a fold of the fit on the others; the same quadratic form as with moments."""
    held_out = torch.tensor([of == fold for of in folds], device=K.device)
    fitted = ~held_out
    averages = groups.averages(fitted)
    among = _centred(K, averages, groups, fitted, fitted)
    eigenvalues, vectors = torch.linalg.eigh(among)
    kept = eigenvalues > torch.finfo(K.dtype).eps * len(among) * float(K.diagonal().sum())
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    Z = _centred(K, averages, groups, held_out, fitted) @ vectors
    Y = _centred(KB, averages, groups, held_out, fitted) @ vectors
    turned = vectors.T @ _centred(KB, averages, groups, fitted, fitted) @ vectors
    squares = float(_centred(KB, averages, groups, held_out, held_out).trace())
    return HeldOutError(squares, eigenvalues, (Z * Y).sum(0), (Z.T @ Z) * turned, float(among.diagonal().mean()))


def _factored(
    spool: ActivationSpool,
    config: FitConfig,
    groups: Groups,
    sides: tuple[_Side, _Side],
    solved: tuple[Tensor, Tensor, Tensor],
    penalty: float,
) -> TransformMatrix:
    """The two factors and the intercepts, in float32; layer by layer."""
    eigenvalues, vectors, turned = solved
    shrunk = (eigenvalues / (eigenvalues + penalty)).sqrt()  # the eigenvalues of √H
    values, directions = torch.linalg.eigh(shrunk[:, None] * turned * shrunk)
    noise = torch.finfo(values.dtype).eps * len(values) * float(values[-1])
    rank = max(min(config.rank, int((values > noise).sum())), 1)
    singular = values[-rank:].flip(0).clamp(min=torch.finfo(values.dtype).tiny).sqrt()
    within = shrunk[:, None] * directions[:, -rank:].flip(1) / singular  # √H z / σ, seen from the span of X
    right = vectors @ within
    left = vectors @ (turned @ within / (eigenvalues + penalty)[:, None])
    everyone = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
    averages = groups.averages(everyone)
    features = _rows_of(config)
    U, V, read, english = [], [], [], []
    for layer, spread in enumerate(sides[0].spreads):
        means, about = _about(spool.column(FIT, features, layer), averages, groups)
        U.append(about.T @ left / spread if spread else left.new_zeros(spool.hidden_size, rank))
        read.append(means @ U[-1])
    for layer in range(len(sides[1].spreads)):
        means, about = _about(spool.column(FIT, "english_activations", layer), averages, groups)
        V.append(right.T @ about)
        english.append(means)
    output = torch.cat(V, dim=1)
    intercept = None
    if groups.count:
        intercept = torch.stack(english, 1) - (torch.stack(read).sum(0) @ output).unflatten(1, (spool.layers, -1))
        intercept = intercept if config.intercept == "per_language" else intercept[0]
    languages = spool.fitted_languages if config.intercept == "per_language" else ()
    factored = TransformMatrix(torch.cat(U), intercept, output, config.features, languages)
    return factored.to(spool.device, torch.float32)


def _about(rows: Tensor, averages: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    """Means `[Q, D]` of the groups, and the rows about them."""
    means = averages @ rows
    return means, rows - means[groups.of_pairs] if groups.count else rows


def _english_mean(spool: ActivationSpool) -> Tensor:
    columns = [spool.column(FIT, "english_activations", layer).mean(0) for layer in range(spool.layers)]
    return torch.stack(columns).mean(0)
