"""Rows as their owner keeps them: parquet, JSON Lines or CSV on disk, or a dataset of the hub.

Reading changes nothing and drops nothing: every row comes out as text in the columns below, with the reason beside it
when it could not be read as it stands. What makes a readable row unfit is for `checks` to say.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from cc_tuning.errors import ConfigError
from cc_tuning.step import Location
from data_contracts.errors import ContractViolation
from data_contracts.parquet import read_table

NEEDED_COLUMNS = ("inputs", "targets", "language_code")
OPTIONAL_COLUMNS = ("language", "annotation_type", "user_id", "inputs_en", "targets_en")
COLUMNS = NEEDED_COLUMNS + OPTIONAL_COLUMNS
PROBLEM = "problem"
"""Column of the reader's own verdict: the name of a quarantine rule, or null."""

_SCHEMA = dict.fromkeys((*COLUMNS, PROBLEM), pl.String)
# Aya's training split on the hub; its test split and the annotators' data lie beside it.
_HUB_FILES = "data/train-*.parquet"
_LONGEST_CSV_FIELD = 1 << 27


def read_source(source: Location) -> pl.DataFrame:
    """The rows of a source: `COLUMNS` as text (null where the source has none) and `problem`.

    Raises:
        ConfigError: the file's kind is not known, or the hub cannot be reached.
        ContractViolation: a needed column is missing, or the file is not what its name says.
        ArtifactMismatch: a parquet file is missing or damaged.
    """
    if not source.is_local:
        return pl.concat([_read_parquet(path) for path in _hub_files(source)])
    path = source.path
    readers = {".parquet": _read_parquet, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise ConfigError(
            f"{path} is not a source of rows: expected a file that ends in {', '.join(readers)}; "
            "convert it, or set `data.source` to another file"
        )
    return reader(path)


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


def _read_parquet(path: Path) -> pl.DataFrame:
    table = read_table(path)
    _check_columns(path, table.column_names)
    table = table.select([name for name in COLUMNS if name in table.column_names])
    for field in table.schema:
        if pa.types.is_nested(field.type) or (field.name in NEEDED_COLUMNS and not _holds_text(field.type)):
            raise ContractViolation(
                f"{path}: column {field.name} holds {field.type}, expected text; convert the column"
            )
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


def _read_json_lines(path: Path) -> pl.DataFrame:
    # Bytes that are not UTF-8 become lone surrogates here, so that they fall under one rule with those in the JSON.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        lines = [line.rstrip("\r\n") for line in file]
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            seen |= row.keys()
            rows.append(_as_text(row))
        else:
            rows.append(_as_text({"inputs": line}) | {PROBLEM: "malformed_line"})
    _check_columns(path, sorted(seen))
    return pl.DataFrame(rows, schema=_SCHEMA)


def _read_csv(path: Path) -> pl.DataFrame:
    # The default of 128 KiB is shorter than some rows; the limit can be set only for the whole process.
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            _check_columns(path, list(reader.fieldnames or ()))
            return pl.DataFrame(list(_csv_rows(reader)), schema=_SCHEMA)
        except csv.Error as error:
            raise ContractViolation(
                f"{path}, line {reader.line_num}: not CSV ({error}); quote fields that hold commas, quotes or line ends"
            ) from error


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
            value = json.dumps(value)
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
