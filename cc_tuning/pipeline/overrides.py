"""Keys laid over a recipe: by `--set` for one command, by `set` for one run; and what is wrong with a key, in words."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cc_tuning.errors import ConfigError, in_one_line
from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.pipeline.runs import RunSpec
from cc_tuning.training.objectives.config import PreferenceConfig
from cc_tuning.training.objectives.table import OBJECTIVES

_SELECTOR_OF = {
    "training.decision_maker_learning_rate": "decision_maker",
    "connection.temperature": "decision_maker",
    "connection.final_temperature": "decision_maker",
    "connection.temperature_course": "decision_maker",
    "connection.seed": "random",
}
"""Keys that one selector alone reads."""
_PREFERENCE_KEYS = {f"preference.{name}" for name in PreferenceConfig.model_fields}
_MOST_ERRORS, _LONGEST_LINE = 20, 1_500
_OF_THE_WHOLE = {"name", "runs", "seeds"}


def lay_over(values: dict[str, Any], key: str, value: Any) -> None:
    """Put `value` at the dotted `key` of `values`, whose sections are mappings; of a section, what it names alone.

    Raises:
        ValueError: a part of the key is a value and not a section.
    """
    if isinstance(value, dict):
        for name, part in value.items():
            lay_over(values, f"{key}.{name}", part)
        return
    *parents, last = key.split(".")
    section = values
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ValueError(f"{parent!r} is a value, not a section")
    section[last] = value


def recipe_of_run(recipe: Recipe, run: RunSpec, seed: int | None = None) -> Recipe:
    """The recipe with what `run` sets laid over it, and `seed` in the place of `training.seed`.

    Raises:
        ConfigError: a key is unknown, a value does not fit, or the run reads no such key.
    """
    for key in run.set:
        if reason := reason_unread(run, key, recipe):
            raise ConfigError(f"run {run.name}: `set` has {key}, but {reason}")
    changes = dict(run.set) if seed is None else {**run.set, "training.seed": seed}
    if not changes:
        return recipe
    values = recipe.model_dump()
    try:
        for key, value in changes.items():
            lay_over(values, key, value)
        _drop_rate_without_decision_maker(values, run)
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"run {run.name}: {explained(error)}") from error
    except ValueError as error:
        raise ConfigError(f"run {run.name}: `set` cannot be read: {error}") from error


def check_runs(recipe: Recipe) -> None:
    """Refuse a recipe one of whose runs cannot be planned.

    Raises:
        ConfigError: as of `recipe_of_run`; or two runs would have one name, a seed's included.
    """
    names: dict[str, str] = {}
    for run in recipe.runs:
        recipe_of_run(recipe, run)
        for name in dict.fromkeys((run.name, *names_of(run, recipe.seeds))):  # commands take either
            if name in names:
                raise ConfigError(f"run {run.name} and run {names[name]} would both be called {name}; rename one")
            names[name] = run.name


def names_of(run: RunSpec, seeds: Sequence[int]) -> dict[str, int | None]:
    """The seed of each time that `run` is planned, by the name it then has; None is the recipe's own."""
    if not seeds or not run.is_trained:
        return {run.name: None}
    return {f"{run.name}-seed{seed}": seed for seed in seeds}


def explained(error: ValidationError) -> str:
    """What is wrong with a recipe: each key, what was found, and the nearest right key."""
    lines = [in_one_line(_explained(details), _LONGEST_LINE) for details in error.errors()]
    more = f"; and {len(lines) - _MOST_ERRORS} more" if len(lines) > _MOST_ERRORS else ""
    return "; ".join(lines[:_MOST_ERRORS]) + more


def reason_unread(run: RunSpec, key: str, recipe: Recipe) -> str:
    """Why `run` does not read `key`; empty when it does, or when nothing has such a key."""
    section = key.partition(".")[0]
    if section == "execution":
        return "where and how fast a recipe runs is the same for all of its runs; set it in `execution`"
    if section in _OF_THE_WHOLE:
        return "that key is of the whole recipe"
    if section not in Recipe.model_fields:
        return ""
    if not run.is_trained:
        read = {"evaluation"} if run.checkpoint else {"evaluation", "model", "miniature"}
        is_read = section in read or key == "materialization.chat_template"
        sections = ", ".join(f"`{name}`" for name in sorted(read))
        return (
            "" if is_read else f"it is not trained here; it reads {sections} and `materialization.chat_template` only"
        )
    if section in ("connection", "transform") and not run.connected and key != "connection.offset":
        return "it has no connection; make it like cc-tuning, or set `connected: true`"
    if key == "evaluation.controls" and not run.connected:
        return "it has no connection to control"
    reads = OBJECTIVES[run.objective].reads if run.objective else ()
    if section == "preference" and key.partition(".")[2] not in reads and key in _PREFERENCE_KEYS:
        return (
            f"objective {run.objective!r} reads {', '.join(f'preference.{name}' for name in reads) or 'none of them'}"
        )
    if key == "training.distil_weight" and not (run.objective and OBJECTIVES[run.objective].distils):
        return f"objective {run.objective!r} distils nothing; `cc-distil` does"
    if section == "distillation" and run.data != "sdrrl":
        return f"its rows are those of {run.data!r}; only `sdrrl` has distilled ones"
    selector = run.set.get("connection.selector", recipe.connection.selector) if run.connected else "none"
    is_gated = run.set.get("connection.gate", recipe.connection.gate) != "none"
    if key == "training.decision_maker_learning_rate" and run.connected and is_gated:
        return ""
    if _SELECTOR_OF.get(key, selector) != selector:
        return f"only connection.selector {_SELECTOR_OF[key]!r} reads it, and this run's is {selector!r}"
    return ""


def _drop_rate_without_decision_maker(values: dict[str, Any], run: RunSpec) -> None:
    """A run with another selector than the recipe's, and no gate, does not have the rate that the recipe gives."""
    selector, is_gated = values["connection"].get("selector"), values["connection"].get("gate", "none") != "none"
    if not is_gated and selector != "decision_maker" and "training.decision_maker_learning_rate" not in run.set:
        values["training"]["decision_maker_learning_rate"] = None


def _explained(details: ErrorDetails) -> str:
    location = list(details["loc"])
    key = ".".join(map(str, location))
    if details["type"] != "extra_forbidden":
        message = details["msg"].removeprefix("Value error, ")
        return f"{key}: {message}, got {in_one_line(repr(details['input']))}" if details["type"] != "value_error" else (
            f"{key}: {message}" if key else message
        )  # fmt: skip
    known = sorted(_fields_at(Recipe, location[:-1]))
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
    return f"unknown key `{key}`; {hint}"


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> Mapping[str, Any]:
    for part in path:
        if isinstance(part, int):
            continue  # a place in a list, which its annotation has no name for
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel))
    return model.model_fields
