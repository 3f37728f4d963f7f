"""The files that the weights of a model lie in, told from their names and headers, which a model of any size has small.

transformers reads `model.safetensors` and, where there is none, the files that the index names. An index may name files
in other folders, or hidden ones; those would be read and not hashed, so they are refused.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

Shape = tuple[int, ...]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class WeightFiles:
    """The weights in a directory. Its files are read once, when something of them is first asked for."""

    directory: Path

    @property
    def faults(self) -> list[str]:
        """Why the files cannot be read as weights, each with what to do; none are good."""
        return self._read[1]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of the tensors in all files that can be read, by name."""
        return self._read[0]

    @cached_property
    def foreign(self) -> str:
        """Why the index leads away from the files beside it, with what to do; empty when it does not."""
        names = [name for name in self._shards or () if PurePosixPath(name).name != name or name.startswith(".")]
        if not names:
            return ""
        return f"its index of weights leads to {names[0]!r}, expected names of visible files beside it; put them there"

    @cached_property
    def _shards(self) -> list[str] | None:
        """The files that the index names; None where it is no index."""
        index = json_value(self.directory / _INDEX)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        return sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else None

    @cached_property
    def _read(self) -> tuple[dict[str, Shape], list[str]]:
        """The shapes and the faults."""
        if self._shards is None and (self.directory / _INDEX).is_file():
            return {}, [f"its {_INDEX} has no `weight_map` from weights to files; fetch it again"]
        if self.foreign:
            return {}, [self.foreign]
        shards = [self.directory / name for name in self._shards or ()]
        files = [self.directory / _SINGLE] if (self.directory / _SINGLE).is_file() else shards
        if not files:
            return {}, [_what_is_there_instead(self.directory)]
        shapes: dict[str, Shape] = {}
        faults: list[str] = []
        if absent := [path.name for path in shards if not path.is_file()]:
            faults.append(
                f"its index lists {len(absent)} files of weights that are missing, the first {absent[0]}; fetch them"
            )
        for path in files:
            if path.is_file():
                found, fault = _read_header(path)
                shapes |= found
                if fault:
                    faults.append(f"{path.name} ({path.stat().st_size} bytes) {fault}")
        return shapes, faults


def json_value(path: Path) -> Any:
    """The value of a JSON file; None where there is no file or it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None


def _what_is_there_instead(directory: Path) -> str:
    if others := sorted(path.name for path in directory.glob("*.safetensors")):
        return f"has {others[0]}, but no {_SINGLE} and no {_INDEX}; expected weights under these names"
    if any(any(directory.glob(pattern)) for pattern in _PICKLES):
        return "its weights are pickles, which are never read; save them again as safetensors"
    if any(directory.glob("*.gguf")):
        return "its weights are GGUF; make a model directory of them with `cc-tuning import-gguf`"
    return "has no *.safetensors; expected weights beside config.json"


def _read_header(path: Path) -> tuple[dict[str, Shape], str]:
    """The shapes of the tensors in a file, and why it cannot be read as safetensors, empty when it can."""
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                return {}, "is a pointer of Git LFS, not the file; run `git lfs pull` there"
        with safe_open(path, framework="numpy") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}, ""  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        return {}, f"is truncated or not safetensors ({error}); fetch it again"
