"""Rows as their owner keeps them: parquet, Arrow, JSON or CSV on disk, one file or shards, or a dataset of the hub.

Reading changes nothing and drops nothing: every row comes out as text in the columns below, with the reason beside it
when it could not be read as it stands. What makes a readable row unfit is for `checks` to say. Rows come in batches, so
that a source may be larger than memory, and in the source's order, so that a row's position finds it again.
"""

import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.sources import Location
from cc_tuning.selection.columns import LABEL_COLUMNS, TEXT_COLUMNS, SourceColumns, taken
from cc_tuning.selection.row_files import files_of, kind_of
from cc_tuning.selection.text_files import HEADER, MALFORMED_LINE, RawRow, read_csv, read_json
from cc_tuning.selection.trees import HUB_FILES as TREE_FILES
from cc_tuning.selection.trees import rows_of_tree
from data_contracts.arrow_files import read_arrow_batches, read_arrow_schema
from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.parquet import read_schema, read_table_batches

NEEDED_COLUMNS = ("inputs", "targets", "language_code")
COLUMNS = (*NEEDED_COLUMNS, *LABEL_COLUMNS, "inputs_en", "targets_en")
PROBLEM = "problem"
"""Column of the reader's own verdict: the name of a quarantine rule, or null."""
FURTHER_TURNS = "further_turns"
"""Column of the number of turns after the first exchange of a conversation, which are not read."""
ANSWER_RANK = "answer_rank"
"""Column of the answer's place among those to the same question, 0 the best; null where nobody ranked them."""

_SCHEMA: Mapping[str, type[pl.DataType]] = {
    **dict.fromkeys((*COLUMNS, PROBLEM), pl.String), FURTHER_TURNS: pl.Int64, ANSWER_RANK: pl.Int64,
}  # fmt: skip
# Aya's training split on the hub; its test split and the annotators' data lie beside it.
_HUB_FILES = "data/train-*.parquet"
_BATCH_ROWS = 16_384
_AS_AYA = SourceColumns()

ItemT = TypeVar("ItemT")


def read_source(source: Location, columns: SourceColumns = _AS_AYA) -> pl.DataFrame:
    """All rows of a source at once; raises as `read_batches`."""
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *read_batches(source, columns)])


def read_batches(source: Location, columns: SourceColumns = _AS_AYA) -> Iterator[pl.DataFrame]:
    """The rows of a source, some thousands at a time: `COLUMNS` as text (null where it has none), `problem`,
    `further_turns`, and `answer_rank`.

    Raises:
        ConfigError: the file's kind is not known, a folder's files are ambiguous, or the hub cannot be reached.
        ContractViolation: a needed column is missing, or the file is not what its name says.
        ArtifactMismatch: a parquet or Arrow file is missing or damaged.
    """
    for path in files_of(source.path) if source.is_local else _hub_files(source, columns):
        kind = kind_of(path)
        if kind in ("parquet", "arrow"):
            yield from _read_columnar(path, columns)
        else:
            yield from _read_text(path, columns)


def read_rows_at(source: Location, positions: pl.Series, columns: SourceColumns = _AS_AYA) -> pl.DataFrame:
    """The rows at `positions` of a source, counted from 0 over all of it, in the source's order.

    Raises:
        ArtifactMismatch: the source has fewer rows than it had; otherwise as `read_batches`.
    """
    wanted = positions.sort()
    found = [pl.DataFrame(schema=_SCHEMA)]
    start = taken = 0
    for batch in read_batches(source, columns):
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


def _hub_files(source: Location, columns: SourceColumns) -> list[Path]:
    wanted = TREE_FILES if columns.layout == "oasst" else _HUB_FILES
    try:
        folder = snapshot_download(source.name, repo_type="dataset", revision=source.revision, allow_patterns=[wanted])
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"dataset {source.name} at revision {source.revision} cannot be fetched: {error}; "
            "check the id, the revision and the network, or set `data.source` to a local copy"
        ) from error
    files = sorted(Path(folder).glob(wanted))
    if not files:
        raise ContractViolation(
            f"dataset {source.name} at revision {source.revision} has no file {wanted}; "
            "download it and set `data.source` to a folder or file of its rows"
        )
    return files


def _read_columnar(path: Path, columns: SourceColumns) -> Iterator[pl.DataFrame]:
    is_parquet = kind_of(path) == "parquet"
    if columns.layout == "oasst":
        raise ContractViolation(
            f"{path}: the layout oasst is of message trees, which are JSON; set `data.source` to a file of trees, one "
            "a line (its name ends in .trees.jsonl.gz)"
        )
    schema = read_schema(path) if is_parquet else read_arrow_schema(path)
    _check_columns(path, schema.names, columns)
    held = {ours: theirs for ours, theirs in columns.wanted.items() if theirs in schema.names}
    if columns.layout == "aya":
        _check_types(path, schema, held)
    names = list(dict.fromkeys(held.values()))
    read = read_table_batches if is_parquet else read_arrow_batches
    for table in read(path, names, _BATCH_ROWS):
        yield _as_frame(table, columns, held)


def _check_types(path: Path, schema: pa.Schema, held: Mapping[str, str]) -> None:
    for ours, theirs in held.items():
        found = schema.field(theirs).type
        if pa.types.is_nested(found) or (ours in NEEDED_COLUMNS and not _holds_text(found)):
            raise ContractViolation(f"{path}: column {theirs} holds {found}, expected text; convert the column")


def _as_frame(table: pa.Table, columns: SourceColumns, held: Mapping[str, str]) -> pl.DataFrame:
    is_text = all(_holds_text(table.schema.field(held[name]).type) for name in TEXT_COLUMNS if name in held)
    if not (columns.is_plain and is_text and _is_valid(table)):
        # Also text that is not UTF-8, which polars must never see: row by row, as the other kinds of file are read.
        rows = [_as_text(*taken(row, columns)) for row in _decoded_rows(table)]
        return pl.DataFrame(rows, schema=_SCHEMA)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(
        *(pl.col(held[name]).cast(pl.String).alias(name) if name in held else _null(name) for name in COLUMNS),
        _null(PROBLEM),
        pl.lit(0, pl.Int64).alias(FURTHER_TURNS),
        pl.lit(None, pl.Int64).alias(ANSWER_RANK),
    )


def _null(name: str) -> pl.Expr:
    return pl.lit(None, pl.String).alias(name)


def _is_valid(table: pa.Table) -> bool:
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _holds_text(held: pa.DataType) -> bool:
    if pa.types.is_dictionary(held):
        return _holds_text(held.value_type)
    return any(
        is_kind(held)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    )


def _decoded_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    values_of = {
        name: (_bytes_of(table[name]) if _holds_text(table[name].type) else table[name]).to_pylist()
        for name in table.column_names
    }
    for values in zip(*values_of.values(), strict=True):
        yield {
            name: value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
            for name, value in zip(values_of, values, strict=True)
        }


def _bytes_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string_view(column.type):  # which pyarrow casts to binary by its own view type only
        column = column.cast(pa.binary_view())
    return column.cast(pa.large_binary())


def _read_text(path: Path, columns: SourceColumns) -> Iterator[pl.DataFrame]:
    seen: dict[str, None] = {}
    rows = read_csv(path) if kind_of(path) == "csv" else read_json(path)
    for batch in _batches(_text_rows(path, rows, columns, seen)):
        yield pl.DataFrame(batch, schema=_SCHEMA)
    # Which keys the rows of JSON have is known after the last one only.
    _check_columns(path, list(seen), columns)


def _text_rows(
    path: Path, rows: Iterator[RawRow], columns: SourceColumns, seen: dict[str, None]
) -> Iterator[dict[str, Any]]:
    for raw, problem in rows:
        if problem == HEADER:
            seen.update(dict.fromkeys(raw))
            _check_columns(path, list(seen), columns)
        elif problem is None:
            seen.update(dict.fromkeys(raw))
            if columns.layout == "oasst":
                for each in rows_of_tree(raw.get(columns.wanted["prompt"])):
                    yield _as_text(each.values, each.problem, each.further_turns, each.rank)
            else:
                yield _as_text(*taken(raw, columns))
        else:
            row: dict[str, Any] = {} if columns.layout == "oasst" else taken(raw, columns)[0]
            yield _as_text(row | ({"inputs": raw[None]} if set(raw) == {None} else {}), MALFORMED_LINE, 0)


def _batches(items: Iterator[ItemT]) -> Iterator[list[ItemT]]:
    while batch := list(islice(items, _BATCH_ROWS)):
        yield batch


def _as_text(
    row: Mapping[str, Any], problem: str | None, further_turns: int, rank: int | None = None
) -> dict[str, Any]:
    """A row whose values can be stored, under the first problem that stood against it."""
    text: dict[str, Any] = {PROBLEM: problem, FURTHER_TURNS: further_turns, ANSWER_RANK: rank}
    for name in COLUMNS:
        value = row.get(name)
        if isinstance(value, float) and math.isnan(value):
            value = None  # what pandas writes for a text that is missing
        if value is not None and not isinstance(value, str):
            if name in TEXT_COLUMNS:
                text[PROBLEM] = text[PROBLEM] or "not_text"
            value = json.dumps(value, default=str)
        if value is not None and not _is_valid_unicode(value):
            text[PROBLEM] = text[PROBLEM] or "invalid_unicode"
            # The quarantine file is UTF-8 too; the escape shows which code unit stood there.
            value = value.encode("utf-8", "backslashreplace").decode("utf-8")
        text[name] = value
    return text


def _is_valid_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _check_columns(path: Path, found: list[str], columns: SourceColumns) -> None:
    missing = [name for name in columns.needed if name not in found]
    if missing:
        known = "" if columns != _AS_AYA else f" and, where known, {list(COLUMNS[len(NEEDED_COLUMNS) :])}"
        raise ContractViolation(
            f"{path}: the columns {missing} are missing; got {found}, expected {list(columns.needed)}{known}. "
            "`data.columns` says what a source calls its columns, and what language its rows are in"
        )
