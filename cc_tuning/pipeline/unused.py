"""Keys of a recipe that no run of it reads: they change nothing, and somebody may think that they do.

For a run's own `set` such a key is refused. A whole recipe may keep one on purpose, for runs that are left out today,
so here it is only named.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cc_tuning.evaluation.sources.config import SamplingConfig
from cc_tuning.pipeline.overrides import reason_unread
from cc_tuning.pipeline.recipe import DEVELOPMENT, HUB, MINIATURE, Recipe, is_hub_id

_OF_NO_RUN = ("name", "runs", "seeds", "execution")
"""Sections that runs do not differ in."""


@dataclass(frozen=True)
class _Condition:
    """Keys that are read only where something else in the recipe is so."""

    keys: tuple[str, ...]
    """Beginnings of keys."""
    is_met: Callable[[Recipe], bool]
    otherwise: str


_CONDITIONS = (
    _Condition(
        tuple(f"evaluation.{name}" for name in SamplingConfig.model_fields),
        lambda recipe: recipe.evaluation.items == HUB,
        "only `evaluation.items: hub` draws a sample",
    ),
    _Condition(
        ("evaluation.sample_seed",), lambda recipe: recipe.evaluation.sample == "seeded",
        "only `evaluation.sample: seeded` has a seed",
    ),
    _Condition(
        ("training.validations",), lambda recipe: recipe.training.validation_fraction > 0,
        "no rows are held out: training.validation_fraction is 0",
    ),
    _Condition(
        ("training.lora.",), lambda recipe: recipe.training.lora.rank > 0, "training.lora.rank is 0: no adapter",
    ),
    _Condition(
        ("data.decontamination_ngram",), lambda recipe: recipe.data.decontamination == "ngram",
        "only `data.decontamination: ngram` compares runs of words",
    ),
    _Condition(
        ("translation.retry_",), lambda recipe: recipe.translation.retry, "translation.retry is false",
    ),
    _Condition(
        ("miniature.base_model.",), lambda recipe: recipe.model.base == MINIATURE, "model.base is not `miniature`",
    ),
    _Condition(
        ("miniature.translator.",), lambda recipe: recipe.translation.model == MINIATURE,
        "translation.model is not `miniature`",
    ),
    _Condition(
        ("miniature.world.",),
        lambda recipe: recipe.evaluation.items == DEVELOPMENT or MINIATURE in (
            recipe.data.source, recipe.evaluation.items, recipe.model.base, recipe.translation.model
        ),
        "nothing of this recipe is `miniature`",
    ),
    _Condition(
        ("model.revision",), lambda recipe: is_hub_id(recipe.model.base), "model.base is no hub id",
    ),
    _Condition(
        ("data.revision",), lambda recipe: is_hub_id(recipe.data.source), "data.source is no hub id",
    ),
    _Condition(
        ("translation.revision",), lambda recipe: is_hub_id(recipe.translation.model), "translation.model is no hub id",
    ),
    _Condition(
        ("judge.",), lambda recipe: recipe.judge.kind != "none", "judge.kind is `none`",
    ),
    _Condition(
        ("execution.judge_",), lambda recipe: recipe.judge.kind == "openai", "judge.kind is not `openai`",
    ),
    _Condition(
        ("execution.ray_",), lambda recipe: recipe.execution.task_runner == "ray", "execution.task_runner is not `ray`",
    ),
)  # fmt: skip


def unused_keys(recipe: Recipe) -> Mapping[str, tuple[str, ...]]:
    """By the reason that nothing reads them, the keys whose values differ from their defaults."""
    found: dict[str, list[str]] = {}
    for key in _changed(recipe):
        if reason := _unused(key, recipe):
            found.setdefault(reason, []).append(key)
    return {reason: tuple(keys) for reason, keys in found.items()}


def _unused(key: str, recipe: Recipe) -> str:
    """Why nothing reads `key`; empty when something does."""
    for condition in _CONDITIONS:
        if key.startswith(condition.keys) and key != "training.lora.rank" and not condition.is_met(recipe):
            return condition.otherwise
    if key.partition(".")[0] in _OF_NO_RUN:
        return ""
    reasons = [reason_unread(run, key, recipe) for run in recipe.runs]
    return "" if "" in reasons else f"of no run of this recipe: {reasons[0]}"


def _changed(model: BaseModel, prefix: str = "") -> Iterator[str]:
    """The keys of a section, and of those in it, that were set to another value than their default."""
    for name in sorted(model.model_fields_set):
        value: Any = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _changed(value, f"{prefix}{name}.")
        elif value != type(model).model_fields[name].get_default(call_default_factory=True):
            yield f"{prefix}{name}"
