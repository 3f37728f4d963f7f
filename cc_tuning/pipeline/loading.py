"""From a YAML file and `--set` overrides to a frozen recipe, with errors that name the nearest right key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cc_tuning.errors import ConfigError, in_one_line
from cc_tuning.pipeline.overrides import check_runs, explained, lay_over
from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.pipeline.recipe_file import read_recipe_file, read_yaml
from cc_tuning.pipeline.secret_values import revealed


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `path` with `overrides` (`training.epochs=1`, values in YAML) laid over it.

    Raises:
        ConfigError: the file is missing or is not a YAML mapping, a key is unknown, or a value does not fit.
    """
    values = read_recipe_file(path)
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


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {in_one_line(override)!r} is not KEY=VALUE, as in `--set training.epochs=1`")
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"override {in_one_line(key)!r}: the value is {error}") from error
    value = revealed(key.strip(), value)
    try:
        lay_over(values, key.strip(), "" if value is None else value)
    except ValueError as error:
        raise ConfigError(f"override {in_one_line(override)!r}: {error}") from error
