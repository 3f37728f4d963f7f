"""The best of several maps on held-out pairs, none of whose English texts was fitted.

R² says how much of an English activation a map predicts, not what the model makes of the prediction: a part that is
large may be one that is never read. So maps are held against each other by the likelihood of the pairs' own responses.
All are fitted on one sample of activations and scored on the same pairs, so that differences are paired. A map within
one standard error of the best is as good as it, and of these the one with the fewest numbers is kept.

The paper's map is always among them. The pairs are rows that the model may have been trained on, whose responses it
knows in part: gains are to be compared with each other, not with those on benchmark items.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cc_tuning.errors import TransformFailed
from cc_tuning.transform.choices import Choices
from cc_tuning.transform.config import ChooseBy, ChoosingConfig, FitConfig, MapConfig
from cc_tuning.transform.fitting import FittedTransform, papers
from cc_tuning.transform.likelihoods import ResponseLikelihoods
from cc_tuning.transform.maps import fit_alone
from cc_tuning.transform.sampling import Sample
from cc_tuning.transform.spool import ActivationSpool

PAPERS = "the paper's"


@dataclass(frozen=True)
class Candidate:
    """What one map is chosen by."""

    name: str
    parameters: int
    r2: float | None
    """On held-out pairs, within language and layer."""
    gains: Tensor
    """Of each scored pair over the connection off, nats a token, `[N]` float64."""


def candidates_of(config: ChoosingConfig) -> dict[str, FitConfig]:
    """The maps to choose among by name, each once: the section's own, the paper's, and those listed."""
    others = [config.model_copy(update=form.model_dump()) for form in config.choose_among]
    return {name_of(form): form for form in (config, papers(config), *others)}


def name_of(form: MapConfig) -> str:
    """What of a map's form is not the paper's, such as `features all_layers, ridge cv`."""
    fields = MapConfig.model_fields.items()
    differing = [f"{name} {getattr(form, name)}" for name, field in fields if getattr(form, name) != field.default]
    return ", ".join(differing) or PAPERS


def choose_map(
    spool: ActivationSpool,
    config: ChoosingConfig,
    sample: Sample,
    choices: Choices | None,
    likelihoods: ResponseLikelihoods,
) -> tuple[FitConfig, FittedTransform, dict[str, Any]]:
    """The form of the chosen map, the map, and its figures: those of `fit_and_measure`, and beside them `choose_by`,
    `scored_pairs`, `unscored_pairs`, `english_gain` with `english_gain_error` (the real English prompt in the map's
    place), and the list `candidates` (`candidate_figures`).

    All maps are held until one is chosen.

    Raises:
        TransformFailed: a map cannot be fitted, or makes a likelihood that is no number; names the map.
    """
    forms = candidates_of(config)
    maps: dict[str, tuple[FittedTransform, dict[str, Any]]] = {}
    candidates = []
    for name, form in forms.items():
        maps[name] = fitted, figures = _fit_by_name(name, spool, form, sample, choices)
        gains = likelihoods.gains(fitted.transform)
        if not torch.isfinite(gains).all():
            raise TransformFailed(
                f"the map {name!r} of transform.choose_among makes likelihoods that are NaN or infinite for "
                f"{int((~torch.isfinite(gains)).sum())} of {len(gains)} held-out pairs; give it a larger ridge, or "
                "leave it out"
            )
        candidates.append(Candidate(name, fitted.transform.parameters, figures["held_out_within_r2"], gains))
    kept = best_of(candidates, config.choose_by, likelihoods.error)
    fitted, figures = maps[kept.name]
    if kept.name != PAPERS and PAPERS in maps:
        beside, of_papers = maps[PAPERS]
        figures["paper"] = {**beside.summary(), **of_papers}
    english = likelihoods.gains_of_english()
    figures |= {
        "choose_by": config.choose_by,
        "candidates": list(candidate_figures(candidates, kept, likelihoods.error)),
    }
    figures |= {"scored_pairs": likelihoods.scored, "unscored_pairs": likelihoods.unscored}
    figures |= {"english_gain": float(english.mean()), "english_gain_error": likelihoods.error(english)}
    return forms[kept.name], fitted, figures


def best_of(candidates: Sequence[Candidate], by: ChooseBy, error: Callable[[Tensor], float]) -> Candidate:
    """The one to keep; `error` tells the standard error of the mean of some gains, and of their differences.

    Raises:
        TransformFailed: `by` R², and some has none, since nothing varies or no language has enough pairs.
    """
    if by == "likelihood":
        best = _likeliest(candidates)
        tied = [at for at in candidates if float((best.gains - at.gains).mean()) <= error(best.gains - at.gains)]
        return min(tied, key=lambda at: (at.parameters, -float(at.gains.mean())))
    if without := [at.name for at in candidates if at.r2 is None]:
        raise TransformFailed(
            f"transform.choose_by 'r2': there is no R² within language and layer for {', '.join(without)}, for want "
            "of held-out pairs in a language with two fitted ones. Raise `transform.pairs` or "
            "`transform.held_out_fraction`, or use `transform.choose_by: likelihood`"
        )
    return max(candidates, key=lambda at: (at.r2 or 0.0, -at.parameters))


def candidate_figures(
    candidates: Sequence[Candidate], kept: Candidate, error: Callable[[Tensor], float]
) -> Iterator[dict[str, Any]]:
    """Of each map `name`, `parameters`, `held_out_within_r2`, `gain` over the connection off and `behind` the likeliest
    map, in nats a token on average over pairs, each with its standard error (`…_error`), and whether it is `chosen`.
    """
    best = _likeliest(candidates)
    for at in candidates:
        behind = best.gains - at.gains
        yield {
            "name": at.name,
            "parameters": at.parameters,
            "held_out_within_r2": at.r2,
            "gain": float(at.gains.mean()),
            "gain_error": error(at.gains),
            "behind": float(behind.mean()),
            "behind_error": error(behind),
            "chosen": at is kept,
        }


def _likeliest(candidates: Sequence[Candidate]) -> Candidate:
    return max(candidates, key=lambda at: float(at.gains.mean()))


def _fit_by_name(
    name: str, spool: ActivationSpool, form: FitConfig, sample: Sample, choices: Choices | None
) -> tuple[FittedTransform, dict[str, Any]]:
    try:
        return fit_alone(spool, form, sample, choices)
    except TransformFailed as error:
        raise TransformFailed(
            f"the map {name!r} of those to choose among cannot be fitted: {error}; or leave it out of "
            "`transform.choose_among`"
        ) from error
