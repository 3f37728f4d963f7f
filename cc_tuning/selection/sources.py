"""Rows as their owner keeps them: parquet, JSON Lines or CSV on disk, or a dataset of the hub.

Reading changes nothing and drops nothing: every row comes out as text in the columns below, with the reason beside it
when it could not be read as it stands. What makes a readable row unfit is for `checks` to say. Rows come in batches, so
that a source may be larger than memory, and in the source's order, so that a row's position finds it again.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.sources import Location
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.parquet import read_schema, read_table_batches

NEEDED_COLUMNS = ("inputs", "targets", "language_code")
OPTIONAL_COLUMNS = ("language", "annotation_type", "user_id", "inputs_en", "targets_en")
COLUMNS = NEEDED_COLUMNS + OPTIONAL_COLUMNS
PROBLEM = "problem"
"""Column of the reader's own verdict: the name of a quarantine rule, or null."""

_SCHEMA = dict.fromkeys((*COLUMNS, PROBLEM), pl.String)
# Aya's training split on the hub; its test split and the annotators' data lie beside it.
_HUB_FILES = "data/train-*.parquet"
_LONGEST_CSV_FIELD = 1 << 27
_BATCH_ROWS = 16_384

ItemT = TypeVar("ItemT")


def read_source(source: Location) -> pl.DataFrame:
    """All rows of a source at once; raises as `read_batches`."""
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *read_batches(source)])


def read_batches(source: Location) -> Iterator[pl.DataFrame]:
    """The rows of a source, some thousands at a time: `COLUMNS` as text (null where it has none) and `problem`.

    Raises:
        ConfigError: the file's kind is not known, or the hub cannot be reached.
        ContractViolation: a needed column is missing, or the file is not what its name says.
        ArtifactMismatch: a parquet file is missing or damaged.
    """
    if not source.is_local:
        for path in _hub_files(source):
            yield from _read_parquet(path)
        return
    path = source.path
    readers = {".parquet": _read_parquet, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise ConfigError(
            f"{path} is not a source of rows: expected a file that ends in {', '.join(readers)}; "
            "convert it, or set `data.source` to another file"
        )
    yield from reader(path)


def read_rows_at(source: Location, positions: pl.Series) -> pl.DataFrame:
    """The rows at `positions` of a source, counted from 0 over all of it, in the source's order.

    Raises:
        ArtifactMismatch: the source has fewer rows than it had; otherwise as `read_batches`.
    """
    wanted = positions.sort()
    found = [pl.DataFrame(schema=_SCHEMA)]
    start = taken = 0
    for batch in read_batches(source):
        end = start + batch.height
        until = wanted.search_sorted(end)
        if until > taken:
            found.append(batch[wanted[taken:until] - start])
        start, taken = end, until
    if taken < wanted.len():
        raise ArtifactMismatch(
            f"{source.name} has {start} rows now, more when it was first read; leave it alone and run again"
        )
    return pl.concat(found)


def _hub_files(source: Location) -> list[Path]:
    try:
        folder = snapshot_download(
            source.name, repo_type="dataset", revision=source.revision, allow_patterns=[_HUB_FILES]
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"dataset {source.name} at revision {source.revision} cannot be fetched: {error}; "
            "check the id, the revision and the network, or set `data.source` to a local copy"
        ) from error
    files = sorted(Path(folder).glob(_HUB_FILES))
    if not files:
        raise ContractViolation(
            f"dataset {source.name} at revision {source.revision} has no file {_HUB_FILES}; "
            "download it and set `data.source` to a parquet, JSON Lines or CSV file"
        )
    return files


def _read_parquet(path: Path) -> Iterator[pl.DataFrame]:
    schema = read_schema(path)
    _check_columns(path, schema.names)
    columns = [name for name in COLUMNS if name in schema.names]
    for field in map(schema.field, columns):
        if pa.types.is_nested(field.type) or (field.name in NEEDED_COLUMNS and not _holds_text(field.type)):
            raise ContractViolation(
                f"{path}: column {field.name} holds {field.type}, expected text; convert the column"
            )
    yield from map(_as_frame, read_table_batches(path, columns, _BATCH_ROWS))


def _as_frame(table: pa.Table) -> pl.DataFrame:
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        # Some text is not UTF-8, which polars must never see: row by row, as the other kinds of file are read.
        return pl.DataFrame([_as_text(row) for row in _decoded_rows(table)], schema=_SCHEMA)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    absent = [pl.lit(None, pl.String).alias(name) for name in (*COLUMNS, PROBLEM) if name not in frame.columns]
    return frame.cast(pl.String).with_columns(absent).select(*COLUMNS, PROBLEM)


def _holds_text(held: pa.DataType) -> bool:
    if pa.types.is_dictionary(held):
        return _holds_text(held.value_type)
    return bool(pa.types.is_string(held) or pa.types.is_large_string(held) or pa.types.is_null(held))


def _decoded_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    columns = {
        name: (table[name].cast(pa.large_binary()) if _holds_text(table[name].type) else table[name]).to_pylist()
        for name in table.column_names
    }
    for values in zip(*columns.values(), strict=True):
        yield {
            name: value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
            for name, value in zip(columns, values, strict=True)
        }


def _read_json_lines(path: Path) -> Iterator[pl.DataFrame]:
    seen: set[str] = set()
    # Bytes that are not UTF-8 become lone surrogates here, so that they fall under one rule with those in the JSON.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        lines = (line.rstrip("\r\n") for line in file)
        for batch in _batches(_json_rows((line for line in lines if line.strip()), seen)):
            yield pl.DataFrame(batch, schema=_SCHEMA)
    # Which keys the rows have is known after the last one only.
    _check_columns(path, sorted(seen))


def _json_rows(lines: Iterable[str], seen: set[str]) -> Iterator[dict[str, str | None]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            seen.update(row)
            yield _as_text(row)
        else:
            yield _as_text({"inputs": line}) | {PROBLEM: "malformed_line"}


def _read_csv(path: Path) -> Iterator[pl.DataFrame]:
    # The default of 128 KiB is shorter than some rows; the limit can be set only for the whole process.
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            _check_columns(path, list(reader.fieldnames or ()))
            for batch in _batches(_csv_rows(reader)):
                yield pl.DataFrame(batch, schema=_SCHEMA)
        except csv.Error as error:
            raise ContractViolation(
                f"{path}, line {reader.line_num}: not CSV ({error}); quote fields that hold commas, quotes or line ends"
            ) from error


def _batches(items: Iterator[ItemT]) -> Iterator[list[ItemT]]:
    while batch := list(islice(items, _BATCH_ROWS)):
        yield batch


def _csv_rows(reader: "csv.DictReader[str]") -> Iterator[dict[str, str | None]]:
    columns = len(reader.fieldnames or ())
    for row in reader:
        # DictReader files surplus fields under None and fills missing ones with None.
        fields = sum(value is not None for key, value in row.items() if key is not None)
        if None in row or fields < columns:
            yield _as_text(row) | {PROBLEM: "malformed_line"}
        else:
            yield _as_text(row)


def _as_text(row: dict[Any, Any]) -> dict[str, str | None]:
    """A row whose values can be stored, under the first problem that stood against it."""
    problem: str | None = None
    text: dict[str, str | None] = {}
    for name in COLUMNS:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            if name in NEEDED_COLUMNS:
                problem = problem or "not_text"
            value = json.dumps(value, default=str)
        if value is not None and not _is_valid_unicode(value):
            problem = problem or "invalid_unicode"
            # The quarantine file is UTF-8 too; the escape shows which code unit stood there.
            value = value.encode("utf-8", "backslashreplace").decode("utf-8")
        text[name] = value
    text[PROBLEM] = problem
    return text


def _is_valid_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [name for name in NEEDED_COLUMNS if name not in columns]
    if missing:
        raise ContractViolation(
            f"{path}: the columns {missing} are missing; got {columns}, expected {list(NEEDED_COLUMNS)} "
            f"and, where known, {list(OPTIONAL_COLUMNS)}"
        )
