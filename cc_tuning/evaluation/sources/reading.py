"""Rows of a source's file, read without guessing: no null words, no types by inference, no row cut at a strange mark.

What is known about a file (its rows, its sha256) is checked here; no item is made of a file that differs.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import IO

from cc_tuning.evaluation.sources.source import FileFormat, RemoteFile, Row
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import sha256_of_file
from data_contracts.parquet import read_schema, read_verified

_LONGEST_CELL = 1 << 27


def check_bytes(file: RemoteFile, path: Path) -> str:
    """The sha256 of the file at `path`.

    Raises:
        ArtifactMismatch: it is not the one that is known of `file`.
    """
    found = sha256_of_file(path)
    if file.sha256 and found != file.sha256:
        raise ArtifactMismatch(
            f"{path} is not {file}: its sha256 is {found}, expected {file.sha256}; delete it and fetch it again"
        )
    return found


def read_rows(file: RemoteFile, path: Path) -> Iterator[Row]:
    """The rows of the file at `path`, in its order.

    Raises:
        ArtifactMismatch: the file is damaged, or has another number of rows than `file` (known after the last one).
        ContractViolation: it lacks columns, or a row is no row.
    """
    count = 0
    try:
        for row in _READERS[file.format](file, path):
            count += 1
            yield row
    except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArtifactMismatch(f"{path} cannot be read: {error}; delete it and fetch it again") from error
    except csv.Error as error:
        raise ContractViolation(f"{path}, row {count + 1}: not CSV ({error}); fetch the file again") from error
    if file.rows is not None and count != file.rows:
        raise ArtifactMismatch(
            f"{path} has {count:,} rows, expected {file.rows:,} of {file}; it is cut, or of another version: delete it "
            "and fetch it again"
        )


def _read_parquet(file: RemoteFile, path: Path) -> Iterator[Row]:
    _check_columns(file, path, read_schema(path).names)
    yield from read_verified(path).select(file.columns).iter_rows(named=True)


def _read_csv(file: RemoteFile, path: Path) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)  # the default of 128 KiB can be set for the whole process only
    with _opened(path) as lines:
        reader = csv.DictReader(lines, strict=True)
        _check_columns(file, path, list(reader.fieldnames or ()))
        width = len(reader.fieldnames or ())
        for row in reader:
            # DictReader files surplus cells under None and fills missing ones with None.
            if None in row or sum(value is not None for value in row.values()) != width:
                raise ContractViolation(f"{path}, line {reader.line_num}: a row of other than {width} cells: {row}")
            yield row


def _read_tsv(file: RemoteFile, path: Path) -> Iterator[Row]:
    """Cells by their position, since releases differ in what they call them.

    Stories hold quotation marks. Whether a cell is quoted, as CSV writers do it, is decided for the whole file: only
    if every cell with a mark in it is written that way.
    """
    with _opened(path) as lines:
        text = lines.read()
    rows = [line.removesuffix("\r").split("\t") for line in text.removesuffix("\n").split("\n")]
    cells = [cell for row in rows for cell in row if '"' in cell]
    width = len(file.columns)
    if any(len(row) != width for row in rows) or (cells and all(map(_is_quoted, cells))):
        rows = list(csv.reader(StringIO(text, newline="\n"), delimiter="\t", strict=True))
    for number, row in enumerate(rows):
        if len(row) != width:
            raise ContractViolation(
                f"{path}, row {number}: {len(row)} cells, expected {width} ({', '.join(file.columns)}); fetch it again"
            )
    yield from (dict(zip(file.columns, row, strict=True)) for row in rows[1:])


def _is_quoted(cell: str) -> bool:
    inner = cell[1:-1]
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")


def _read_json_lines(file: RemoteFile, path: Path) -> Iterator[Row]:
    with _opened(path) as lines:
        yield from _json_rows(file, path, lines)


def _read_zipped_json_lines(file: RemoteFile, path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        yield from _json_rows(file, path, lines)


def _json_rows(file: RemoteFile, path: Path, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(f"{type(row).__name__}, expected an object")
            json.dumps(row, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, TypeError, RecursionError) as error:
            raise ContractViolation(f"{path}, line {number + 1}: not JSON ({error}); fetch the file again") from error
        _check_columns(file, path, list(row))
        yield row


def _opened(path: Path) -> IO[str]:
    # Lines end at line feeds alone: texts hold marks at which str.splitlines would cut. A first U+FEFF is no text.
    return path.open(encoding="utf-8-sig", newline="\n")


def _check_columns(file: RemoteFile, path: Path, found: list[str]) -> None:
    if missing := [name for name in file.columns if name not in found]:
        raise ContractViolation(
            f"{path}: the columns {missing} are missing; got {found}, expected {list(file.columns)} of {file}"
        )


_READERS: dict[FileFormat, Callable[[RemoteFile, Path], Iterator[Row]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_json_lines,
    "jsonl.gz": _read_zipped_json_lines,
}
