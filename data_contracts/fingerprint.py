"""Identity as sixty-four hex digits.

    fingerprint = sha256(canonical JSON of stage, version, identity config, input fingerprints)

Two configs that mean the same have one form; a value without a stable form (a callable, a set, an object that prints
its memory address, NaN) is refused, because a guess here would let a stale artifact pass for a fresh one.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from data_contracts.errors import NotFingerprintable
from data_contracts.files import sha256_of_file, visible_files

_HASHING_THREADS = 4  # hashing runs without the interpreter's lock, at the speed of a disk


def fingerprint(stage: str, version: int, config: BaseModel | Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The sha256 of what decides a stage's output; `inputs` maps each input's name to its own identity."""
    identity = {"stage": stage, "version": version, "config": config, "inputs": dict(inputs)}
    return hashlib.sha256(canonical_json(identity).encode("utf-8")).hexdigest()


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no blanks, no NaN.

    Raises:
        NotFingerprintable: some part of `value` has no stable form; the message names where it stands.
    """
    plain = _plain(value, "value")
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of_files(path: Path, sha256: Callable[[Path], str] = sha256_of_file) -> str:
    """The identity of a file, or of every visible file below a directory: relative names and contents, nothing else.

    `sha256` tells the digest of one file.

    Raises:
        NotAFile: something in the folder is neither a file nor a folder.
    """
    if path.is_file():
        return sha256(path)
    files = visible_files(path)
    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        digests = list(threads.map(sha256, files))
    return _digest({file.relative_to(path).as_posix(): digest for file, digest in zip(files, digests, strict=True)})


def stamp_of_files(path: Path) -> str:
    """A digest of names, sizes and times of last change of what `digest_of_files` hashes; it reads no contents.

    Equal stamps before and after a while say that nothing wrote there in between.
    """
    files = [path] if path.is_file() else visible_files(path)
    states = [file.stat() for file in files]
    listing = [
        [file.relative_to(path).as_posix(), state.st_size, state.st_mtime_ns]
        for file, state in zip(files, states, strict=True)
    ]
    return _digest(listing)


def _digest(listing: Any) -> str:
    return hashlib.sha256(canonical_json(listing).encode("utf-8")).hexdigest()


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotFingerprintable(f"{where} is {value}: an identity takes finite numbers only")
        # 1 and 1.0 mean the same in a recipe, so they have the same form.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, BaseModel):
        return _plain({name: getattr(value, name) for name in type(value).model_fields}, where)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise NotFingerprintable(f"{where} has a key that is not text; got keys {list(value)!r}")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise NotFingerprintable(
        f"{where} is a {type(value).__name__}, which has no stable form; an identity takes text, numbers, lists, "
        "mappings and pydantic models. Paths and devices belong in `execution`"
    )
