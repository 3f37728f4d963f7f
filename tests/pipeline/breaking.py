"""Ways to break a file of a sound project, and what a broken variant of the project is."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Harm = Callable[[Path, random.Random], object]
"""Breaks something in a project's folder."""


@dataclass(frozen=True)
class Variant:
    """A project is broken by `harm`, and the check must say something about `key`."""

    name: str
    key: str
    harm: Harm


def change_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; the file may be absent."""
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


def changed(file: str, **changes: Any) -> Harm:
    """Set keys of a JSON file."""
    return lambda project, _draw: change_json(project / file, **changes)


def drop(file: str, *keys: str) -> Harm:
    """Leave keys out of a JSON file."""

    def harm(project: Path, _draw: random.Random) -> None:
        content = json.loads((project / file).read_text())
        (project / file).write_text(json.dumps({k: v for k, v in content.items() if k not in keys}))

    return harm


def cut(file: str) -> Harm:
    """Keep a random half or less of a file."""

    def harm(project: Path, draw: random.Random) -> None:
        content = (project / file).read_bytes()
        (project / file).write_bytes(content[: draw.randrange(len(content) // 2)])

    return harm


def written(file: str, content: str | bytes) -> Harm:
    """Write a file anew."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda project, _draw: (project / file).write_bytes(raw)


def removed(file: str) -> Harm:
    """Remove a file."""
    return lambda project, _draw: (project / file).unlink()
