"""A map and what is measured of it, on the sampled pairs of one checkpoint."""

from collections.abc import Mapping
from typing import Any

from cc_tuning.transform.agreement import measure_agreement
from cc_tuning.transform.choices import Choices
from cc_tuning.transform.config import FitConfig, TransformConfig
from cc_tuning.transform.fitting import FittedTransform, fit_spooled, measure, papers
from cc_tuning.transform.sampling import Sample
from cc_tuning.transform.spool import ActivationSpool
from cc_tuning.transform.sweep import sweep
from cc_tuning.transform.within import measure_within


def fit_and_measure(
    spool: ActivationSpool, config: TransformConfig, sample: Sample, choices: Choices | None
) -> tuple[FittedTransform, dict[str, Any]]:
    """The map, and the figures of it and of the maps beside it: `paper`, the paper's, and the curve `sweep`.

    `choices` are of the checkpoint's Decision Maker, for `targets: chosen`.

    Raises:
        TransformFailed: as `fit_spooled`.
    """
    fitted, figures = fit_alone(spool, config, sample, choices)
    if not config.is_papers:
        figures["paper"] = fit_papers(spool, config, sample)[1]
    if config.sweep_pairs:
        figures["sweep"] = sweep(spool, config, fitted, figures)
    return fitted, figures


def fit_alone(
    spool: ActivationSpool, config: FitConfig, sample: Sample, choices: Choices | None
) -> tuple[FittedTransform, dict[str, Any]]:
    """The map and its own figures, none beside it; arguments and errors as of `fit_and_measure`."""
    if config.targets == "all":
        fitted = fit_spooled(spool, config, sample.fit)
        return fitted, measured(spool, fitted, sample)
    assert choices is not None
    counts = choices.counts(spool)
    spool.chosen_layers = tuple(layer for layer, count in enumerate(counts) if count)
    fitted = fit_spooled(spool, config, sample.fit)
    figures = {**measured(spool, fitted, sample), "layer_chosen": counts}
    return fitted, figures | choices.measure(spool, fitted.transform, codes_of(sample))


def fit_papers(spool: ActivationSpool, config: FitConfig, sample: Sample) -> tuple[FittedTransform, dict[str, Any]]:
    """The paper's map on the same pairs, and the figures that stand beside those of another."""
    fitted = fit_spooled(spool, papers(config), sample.fit)
    return fitted, {**fitted.summary(), **measured(spool, fitted, sample)}


def measured(spool: ActivationSpool, fitted: FittedTransform, sample: Sample) -> dict[str, Any]:
    """The figures of a map: errors over all rows, within language and layer, and whether it points the right way."""
    languages = {side: [pair.language_code for pair in of] for side, of in sample.sides.items()}
    codes = codes_of(sample)
    figures = {**measure(spool, fitted, codes), **measure_within(spool, fitted.transform, languages, codes)}
    for prefix in ("", "held_out_"):
        error, variance = figures[f"{prefix}constant_mse"], figures.get(f"{prefix}variance")
        figures[f"{prefix}constant_r2"] = 1 - error / variance if error is not None and variance else None
    texts = [tuple(pair.english_input_ids) for pair in sample.held_out]
    return {**figures, **measure_agreement(spool, fitted.transform, languages, texts, codes)}


def codes_of(sample: Sample) -> Mapping[str, list[str]]:
    """The FLORES codes of the pairs by split."""
    return {side: [pair.flores_code for pair in of] for side, of in sample.sides.items()}
