"""Which files a source of rows is: one, or the shards of a folder, in the order of their names.

A folder is a clone or a snapshot of a hub data set, what `datasets.save_to_disk` writes, or a heap of shards. Where its
files or folders name splits, the training split is read. Hidden files are passed over, as the source's identity does.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from cc_tuning.errors import ConfigError
from data_contracts.files import visible_files

KINDS = {
    ".parquet": "parquet", ".arrow": "arrow", ".jsonl": "json", ".ndjson": "json", ".json": "json",
    ".csv": "csv", ".tsv": "csv",
}  # fmt: skip
"""The reader of a file by how its name ends; text may have the ending of a compression behind it."""
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")

_METADATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_TRAIN = ("train", "training")
_OTHER_SPLITS = ("test", "testing", "eval", "evaluation", "valid", "validation", "val", "dev")


def kind_of(path: Path) -> str | None:
    """The kind of a file of rows, or None for another file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        kind = KINDS.get(suffixes[-2]) if len(suffixes) > 1 else None
        return kind if kind in ("json", "csv") else None
    return KINDS.get(suffixes[-1]) if suffixes else None


def files_of(path: Path) -> list[Path]:
    """The file at `path`, or the shards of rows below it.

    Raises:
        ConfigError: there is none of a known kind, they are of several kinds, or no training split is among them.
    """
    if path.is_file():
        if kind_of(path) is None:
            raise ConfigError(
                f"{path} is not a source of rows: expected a file that ends in {_endings()}, or a folder of them; "
                "convert it, or set `data.source` to another file"
            )
        return [path]
    found = [file for file in visible_files(path) if kind_of(file) and file.name not in _METADATA]
    if not found:
        raise ConfigError(
            f"{path} is not a source of rows: no file below it ends in {_endings()}; set `data.source` to the folder "
            "of the shards"
        )
    shards = _training_split(path, found)
    if len(kinds := sorted({str(kind_of(file)) for file in shards})) > 1:
        names = ", ".join(str(file.relative_to(path)) for file in shards[:4])
        raise ConfigError(
            f"{path} holds rows of several kinds ({', '.join(kinds)}: {names}), which may be the same rows twice; set "
            "`data.source` to a folder or file of one kind"
        )
    return shards


def _training_split(folder: Path, files: Sequence[Path]) -> list[Path]:
    splits = {file: _split_of(file.relative_to(folder)) for file in files}
    if training := [file for file in files if splits[file] == "train"]:
        return training
    if others := sorted({split for split in splits.values() if split}):
        raise ConfigError(
            f"{folder} holds the splits {', '.join(others)} and none that is called train; set `data.source` to the "
            "file or folder of the rows to learn from"
        )
    return list(files)


def _split_of(path: Path) -> str:
    """`train`, the name of another split, or nothing: the last part of the path that names one decides."""
    for part in reversed(path.parts):
        words = re.split(r"[^a-z]+", part.lower())
        if any(word in _TRAIN for word in words):
            return "train"
        if named := [word for word in words if word in _OTHER_SPLITS]:
            return named[0]
    return ""


def _endings() -> str:
    return f"{', '.join(KINDS)} (text also with {', '.join(COMPRESSIONS)})"
