"""From a YAML file and `--set` overrides to a frozen recipe, with errors that name the nearest right key."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.recipe import Recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `path` with `overrides` (`training.epochs=1`, values in YAML) laid over it.

    Raises:
        ConfigError: the file is missing or is not a YAML mapping, a key is unknown, or a value does not fit.
    """
    values = _read_mapping(path)
    for override in overrides:
        _apply(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [_explain(details) for details in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from error


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the recipe cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file in UTF-8: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of sections, got {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r} is not KEY=VALUE, as in `--set training.epochs=1`")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not YAML: {error}") from error
    *parents, last = key.strip().split(".")
    section = values
    for parent in parents:
        child = section.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
        section = child
    section[last] = "" if value is None else value


def _explain(details: ErrorDetails) -> str:
    location = list(details["loc"])
    key = ".".join(map(str, location))
    if details["type"] != "extra_forbidden":
        return f"{key}: {details['msg']}, got {details['input']!r}"
    known = sorted(_fields_at(Recipe, location[:-1]))
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
    return f"unknown key `{key}`; {hint}"


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> Mapping[str, Any]:
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel))
    return model.model_fields
