"""The YAML of a recipe as plain values: every key once, no deeper, larger or stranger than a recipe can be.

YAML lets a key stand twice (the last one wins), lets a few lines expand to gigabytes by their aliases, and holds
numbers that no machine word does. Each of these is one line here, before anything else looks at the values.
"""

import math
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from cc_tuning.errors import ConfigError, in_one_line
from data_contracts.files import kind_of_object

_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000
_MOST_LEVELS = 32
_LARGEST_INTEGER = 2**63 - 1


def read_recipe_file(path: Path) -> dict[str, Any]:
    """The mapping in the file at `path`.

    Raises:
        ConfigError: it is no file, too large, not YAML in UTF-8, no mapping, or holds what no recipe can.
    """
    kind = kind_of_object(path)
    if kind not in ("file", "nothing"):
        raise ConfigError(f"{path}: the recipe cannot be read: it is a {kind}, expected a file; check the path")
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ConfigError(f"{path}: {size} bytes, expected a recipe of at most {_MOST_BYTES}; check the path")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise ConfigError(f"{path}: not a YAML file in UTF-8: {error}") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: the recipe cannot be read ({reason}); check the path") from error
    try:
        values = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of sections, got {type(values).__name__}")
    return values


def read_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is not YAML, a key stands twice, or it holds what no recipe can; the reason is one short line.
    """
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that cannot be
        raise ValueError(f"not YAML that can be read: {in_one_line(str(error))}") from error
    except RecursionError as error:
        raise ValueError(f"nested beyond {_MOST_LEVELS} levels") from error
    for place, reason in _faults(value):
        raise ValueError(f"{place or 'the whole'} {reason}")
    return value


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in seen:
                raise ValueError(f"{name[1]!r} stands twice, in lines {seen[name]} and {line}; leave one of them out")
            seen[name] = line
        return super().construct_mapping(node, deep)


def _faults(value: Any) -> Iterator[tuple[str, str]]:
    """Where a value is not one of a recipe, and why. Aliases share their values, so this counts what they stand for."""
    count = 0
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        place, each, level = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            yield "", f"stands for more than {_MOST_VALUES:,} values; aliases repeat what they stand for"
            return
        if level > _MOST_LEVELS:
            yield place, f"is nested beyond {_MOST_LEVELS} levels"
            return
        if isinstance(each, dict):
            waiting += [(f"{place}.{key}".lstrip("."), part, level + 1) for key, part in each.items()]
        elif isinstance(each, list):
            waiting += [(place, part, level + 1) for part in each]
        elif reason := _fault_of_scalar(each):
            yield place, reason


def _fault_of_scalar(value: Any) -> str:
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return f"is a number of {value.bit_length()} bits, expected at most 63"
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, expected a finite number"
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        return "holds a character that no text has (NUL or a lone surrogate)"
    return ""
