"""From a YAML file and `--set` overrides to a frozen recipe, with errors that name the nearest right key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.overrides import check_runs, explained, lay_over
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
        recipe = Recipe.model_validate(values)
        check_runs(recipe)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explained(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe


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
    try:
        lay_over(values, key.strip(), "" if value is None else value)
    except ValueError as error:
        raise ConfigError(f"override {override!r}: {error}") from error
