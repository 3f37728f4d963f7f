"""The Transform Matrix from sampled rows, in the form that was asked for: shared, one per layer, or in two factors.

A matrix per layer is fitted on that layer's rows alone, one layer after the other, so that moments take O(D²) memory
whatever the number of layers; only the matrices themselves are held, in the float32 they are stored in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.activations import ActivationBatch, SampledPair
from cc_tuning.transform.config import DEFAULT_RIDGE, FitConfig
from cc_tuning.transform.diagnostics import PredictionErrors
from cc_tuning.transform.dual import fit_exactly
from cc_tuning.transform.dual_memory import free_bytes, require_memory
from cc_tuning.transform.folds import ChosenRidge, choose_ridge, curves_of, folds_of
from cc_tuning.transform.group_sums import GroupSums
from cc_tuning.transform.groups import Groups
from cc_tuning.transform.landmarks import fit_with_landmarks
from cc_tuning.transform.moments import StreamingMoments
from cc_tuning.transform.prediction import Predictor
from cc_tuning.transform.solve import TransformFit, fit_transform_matrix
from cc_tuning.transform.spool import FIT, HELD_OUT, ActivationSpool


@dataclass(frozen=True)
class FittedTransform:
    """The map in float32, how it was fitted, and the mean of the rows it was fitted to."""

    transform: TransformMatrix
    fits: Sequence[TransformFit]
    """One for a shared matrix, otherwise one per layer; their matrices are float32."""
    english_mean: Tensor
    """The mean of the fitted rows of B over all layers, `[D]` float64."""
    chosen: Sequence[ChosenRidge] = ()
    """The choices of the ridge by cross-validation over folds, one for each fit."""

    def summary(self) -> dict[str, Any]:
        """Figures of the fit, flat. With a matrix per layer, `layer_…` holds each, and the plain name what is worst:
        the least rank, the largest condition number and ridge, `eigenvalues` if any was solved so.
        """
        worst = {
            "rank": min, "ridge": max, "relative_ridge": max, "condition_number": max, "solver": max, "gcv_score": max,
            "outside_share": max,
        }  # fmt: skip
        figures: dict[str, Any] = {"rows": sum(fit.rows for fit in self.fits)}
        for name, of in worst.items():
            values = [getattr(fit, name) for fit in self.fits]
            if values[0] is None:
                continue
            figures[name] = of(values)
            if len(values) > 1:
                figures[f"layer_{name}"] = values
        figures["parameters"] = self.transform.parameters
        return {**figures, **curves_of(self.chosen)} if self.chosen else figures


def fit_spooled(spool: ActivationSpool, config: FitConfig, pairs: Sequence[SampledPair] = ()) -> FittedTransform:
    """The map that `config` asks for, from all rows of the split `fit`.

    `pairs` are those of the split, for their languages (`intercept: per_language`) and English prompts (`ridge: cv`).

    Raises:
        TransformFailed: every row of a matrix is zero, a sum is not finite, or there are too few pairs, English prompts
            or too little memory for the form.
    """
    groups = _groups(spool, config, pairs)
    folds = folds_of(pairs, config.folds, config.seed) if config.ridge == "cv" else [0] * spool.pairs[FIT]
    if config.features != "layer":
        require_memory(spool, config, free_bytes(spool.device))
        fit = fit_with_landmarks if config.kernel == "landmarks" else fit_exactly
        dual = fit(spool, config, groups, folds)
        return FittedTransform(dual.transform, [dual.fit], dual.english_mean, [dual.chosen] if dual.chosen else [])
    parts = [_fit_part(spool, config, groups, folds, layers) for layers in spool.parts(config.matrix)]
    maps = [(part.matrix, part.intercept) for part in parts]
    transform = _stacked(maps) if config.matrix == "per_layer" else TransformMatrix(*maps[0])
    if config.intercept == "per_language":
        transform = replace(transform, languages=spool.fitted_languages)
    means = torch.stack([part.english_mean for part in parts])
    fits = [part.fit for part in parts if part.fit is not None]
    return FittedTransform(transform, fits, means.mean(0), [part.chosen for part in parts if part.chosen is not None])


@dataclass(frozen=True)
class _Part:
    """The map of some layers, in float32."""

    matrix: Tensor
    intercept: Tensor | None
    english_mean: Tensor
    """`[D]` float64."""
    fit: TransformFit | None = None
    """None for a layer that is predicted by its mean."""
    chosen: ChosenRidge | None = None


def _fit_part(spool: ActivationSpool, config: FitConfig, groups: Groups, folds: Sequence[int], layers: slice) -> _Part:
    if config.matrix == "per_layer" and layers.start not in spool.target_layers(config.targets):
        return _constant_part(spool, groups, layers.start, config.intercept == "per_language")
    parts = _summed(spool, config, groups, folds, layers)
    moments = parts[0][0] if len(parts) == 1 else StreamingMoments.total([of for of, _ in parts])
    ridge, chosen = config.ridge, None
    if ridge == "cv":
        chosen = choose_ridge(parts)
        ridge = chosen.relative
    by_language = GroupSums.total([of for _, of in parts]) if config.intercept == "per_language" else None
    fit = stored(fit_transform_matrix(moments, ridge, config.intercept is True, by_language))
    return _Part(fit.matrix, fit.intercept, moments.english_mean, fit, chosen)


def _constant_part(spool: ActivationSpool, groups: Groups, layer: int, by_language: bool) -> _Part:
    """The mean of the layer, or that of each language, whatever the prompt is."""
    rows = spool.column(FIT, "english_activations", layer)
    means = groups.means(rows)
    zero = torch.zeros(spool.hidden_size, spool.hidden_size, device=spool.device)
    return _Part(zero, (means if by_language else means[0]).float(), rows.mean(0))


def papers(config: FitConfig) -> FitConfig:
    """The paper's map on the same pairs: one matrix for all layers, no intercept, the default ridge."""
    form = {"features": "layer", "matrix": "shared", "intercept": False, "ridge": DEFAULT_RIDGE, "sweep_pairs": ()}
    unused = {
        name: FitConfig.model_fields[name].default for name in ("kernel", "landmarks", "targets", "rank", "folds")
    }
    return config.model_copy(update=form | unused)


def _groups(spool: ActivationSpool, config: FitConfig, pairs: Sequence[SampledPair]) -> Groups:
    """Whose means rows are taken about: nobody's, everyone's, or those of the languages."""
    number, places = spool.pairs[FIT], [0] * spool.pairs[FIT]
    count = 1 if config.intercept else 0
    if config.intercept == "per_language":
        codes = sorted({pair.flores_code for pair in pairs})
        places = [codes.index(pair.flores_code) for pair in pairs]
        spool.fitted_languages, count = tuple(codes), len(codes)
        if number <= count:
            raise TransformFailed(
                f"no map with an intercept for each language: {number} fitted pairs in {count} languages leave nothing "
                "to fit a matrix to, more pairs than languages are needed. Raise `transform.pairs`, choose fewer "
                "languages, or use `transform.intercept: true`"
            )
    return Groups(torch.tensor(places, dtype=torch.int64, device=spool.device), count)


def _summed(
    spool: ActivationSpool, config: FitConfig, groups: Groups, folds: Sequence[int], layers: slice
) -> list[tuple[StreamingMoments, GroupSums]]:
    """The sums of a matrix's rows, fold by fold; without folds there is one part."""
    fold_of, parts = torch.tensor(folds, device=spool.device), []
    needs_groups = config.ridge == "cv" or config.intercept == "per_language"
    for fold in sorted(set(folds)):
        moments = StreamingMoments(spool.hidden_size, spool.device)
        sums = GroupSums(groups.count if needs_groups else 0, spool.hidden_size, spool.device)
        for batch in spool.batches(FIT, layers):
            taken = fold_of[batch.places] == fold
            own, english = batch.activations[taken], batch.english_activations[taken]
            moments.update(own.flatten(0, 1), english.flatten(0, 1))
            of_rows = groups.of_pairs[batch.places[taken]].repeat_interleave(own.shape[1])
            sums.add(of_rows, own.flatten(0, 1), english.flatten(0, 1))
        moments.settle()
        parts.append((moments, sums))
    return parts


def measure(
    spool: ActivationSpool, fitted: FittedTransform, codes: Mapping[str, Sequence[str]] | None = None
) -> Mapping[str, Any]:
    """The errors on fitted pairs, and on held-out pairs with the prefix `held_out_`, with the number of each.

    `codes` are the FLORES codes of the pairs by split, for a map with an intercept for each language.
    """
    figures: dict[str, Any] = {"multiplications": fitted.transform.multiplications(spool.layers)}
    predicted = Predictor(fitted.transform, codes, spool.device)
    for split, prefix in ((FIT, ""), (HELD_OUT, "held_out_")):
        errors = PredictionErrors(fitted.transform, fitted.english_mean, spool.layers)
        for batch in spool.batches(split):
            errors.update(batch.activations, batch.english_activations, predicted(split, batch))
        figures |= {f"{prefix}pairs": errors.pairs}
        figures |= errors.report(prefix) if errors.pairs else {}
    return figures


def add_rows(moments: StreamingMoments, batches: Iterator[ActivationBatch]) -> None:
    """Add every layer of every pair as a row."""
    for batch in batches:
        moments.update(batch.activations.flatten(0, 1), batch.english_activations.flatten(0, 1))


def stored(fit: TransformFit) -> TransformFit:
    """The fit with its map in float32, as it is written to disk."""
    intercept = None if fit.intercept is None else fit.intercept.float()
    return replace(fit, matrix=fit.matrix.float(), intercept=intercept)


def _stacked(maps: Sequence[tuple[Tensor, Tensor | None]]) -> TransformMatrix:
    """One map per layer from those of the layers; intercepts `[L, D]`, or `[Q, L, D]` with one for each language."""
    intercepts = [intercept for _, intercept in maps if intercept is not None]
    return TransformMatrix(
        torch.stack([matrix for matrix, _ in maps]), torch.stack(intercepts, dim=-2) if intercepts else None
    )
