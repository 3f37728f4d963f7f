"""Raw rows of text files: JSON Lines, a JSON array, or CSV, in whatever encoding and compression the file begins with.

What a file is called says little: an export named `.json` is often JSON Lines, and one named `.jsonl` an array. So the
first bytes decide on compression (gzip, zstd, bzip2, xz) and encoding (UTF-8, UTF-16, UTF-32, with a mark or without),
and the first character decides on an array. A line that cannot be read is a row of its own, without values.
"""

import csv
import io
import json
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from data_contracts.errors import ContractViolation

MALFORMED_LINE = "malformed_line"
HEADER = "header"
"""Stands in the place of a rule for the first row of `read_csv`."""
RawRow = tuple[dict[Any, Any], str | None]
"""A row under the source's own names, and the rule that its line breaks."""

_LONGEST_CSV_FIELD = 1 << 27
_DELIMITERS = ",;\t|"
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zX": "xz", b"PK\x03\x04": "zip"}
_SIGNATURE_BYTES = 4


def read_json(path: Path) -> Iterator[RawRow]:
    """The rows of JSON Lines, or of a JSON array, which is read as a whole.

    Raises:
        ContractViolation: the file's compression is damaged, or it begins as an array and does not end as one.
    """
    with _opened(path, newline="\n") as file:
        first = file.readline()
        while first and not first.strip():
            first = file.readline()
        if first.lstrip().startswith("[") and _parsed(first) is None:
            rest = file.read()
            if isinstance(_parsed(rest.lstrip().partition("\n")[0]), dict) and _parsed(first + rest) is None:
                yield from _lines(iter((first, *io.StringIO(rest, newline="\n"))))  # one bad line before sound ones
            else:
                yield from _array(path, first + rest)
            return
        yield from _lines(chain((first,), file))


def _lines(lines: Iterator[str]) -> Iterator[RawRow]:
    for number, line in enumerate(lines):
        text = line.strip()
        row = _parsed(text) if text else None
        if isinstance(row, list) and number == 0 and all(isinstance(each, dict) for each in row):
            yield from ((each, None) for each in row)  # an array on one line
        elif isinstance(row, dict):
            yield row, None
        elif text:
            yield {None: text}, MALFORMED_LINE


def read_csv(path: Path) -> Iterator[RawRow]:
    """The rows of a CSV file whose header says what stands between fields: a comma, semicolon, tab or bar.

    The first row is the header alone, as a row without values and with the rule `header`, so that a file without rows
    has columns.

    Raises:
        ContractViolation: a column stands twice in the header; quotes are not closed, with the line; or the file's
            compression is damaged.
    """
    # The default of 128 KiB is shorter than some rows; the limit can be set only for the whole process.
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    with _opened(path, newline="") as file:
        header, skipped = file.readline(), 0
        while header and not header.strip():
            header, skipped = file.readline(), skipped + 1
        delimiter = max(_DELIMITERS, key=header.count)
        reader = csv.DictReader(chain([header] if header else [], file), strict=True, delimiter=delimiter)
        try:
            columns = list(reader.fieldnames or ())
            if twice := sorted({column for column in columns if columns.count(column) > 1}):
                raise ContractViolation(
                    f"{path}: the header has {', '.join(map(repr, twice))} more than once, so which of them is meant "
                    "cannot be told; rename or remove the others"
                )
            yield dict.fromkeys(columns), HEADER
            for row in reader:
                # DictReader files surplus fields under None and fills missing ones with None.
                fields = sum(value is not None for key, value in row.items() if key is not None)
                yield row, MALFORMED_LINE if None in row or fields < len(columns) else None
        except csv.Error as error:
            raise ContractViolation(
                # Of the reader inside: DictReader counts a line only after it was read.
                f"{path}, line {skipped + reader.reader.line_num}: not CSV ({error}); write a quote inside of a quoted "
                'field twice (""), and quote fields that hold delimiters, quotes or line ends'
            ) from error


def _array(path: Path, text: str) -> Iterator[RawRow]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractViolation(
            f"{path} begins as a JSON array and cannot be read as one: {error}; mend it, or write one object a line"
        ) from error
    for row in rows:
        yield (row, None) if isinstance(row, dict) else ({None: json.dumps(row)}, MALFORMED_LINE)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # nested beyond what the parser can take
        return None


@contextmanager
def _opened(path: Path, newline: str) -> Iterator[TextIO]:
    """The text of a file. Bytes that do not belong to its encoding become lone surrogates, so that the row they stand
    in falls under one rule with those that hold one by an escape."""
    try:
        with _uncompressed(path) as probe:
            encoding = _encoding(probe.read(_SIGNATURE_BYTES))
        # UTF-16 knows no escape for its faults; U+FFFD would be silent, so they are an error below.
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        with _uncompressed(path) as binary:
            yield io.TextIOWrapper(binary, encoding, errors=errors, newline=newline)
    except (EOFError, pa.ArrowException, lzma.LZMAError) as error:
        raise ContractViolation(f"{path} is damaged or cut: {error}; fetch or write it again") from error
    except UnicodeDecodeError as error:
        raise ContractViolation(f"{path} is not the {encoding} it begins as: {error}; write it as UTF-8") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ContractViolation(f"{path} is damaged or cut: {error}; fetch or write it again") from error


@contextmanager
def _uncompressed(path: Path) -> Iterator[io.BufferedReader]:
    with path.open("rb") as file:
        signature = file.read(_SIGNATURE_BYTES)
        file.seek(0)
        codec = next((codec for magic, codec in _MAGIC.items() if signature.startswith(magic)), None)
        if codec == "zip":
            raise ContractViolation(
                f"{path} is a zip archive, which may hold several files; unpack it, or compress the rows by gzip, "
                "zstd, bzip2 or xz"
            )
        if codec is None:
            yield file
        elif codec == "xz":
            with lzma.open(file) as stream:
                yield io.BufferedReader(stream)
        else:
            yield io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec))


def _encoding(signature: bytes) -> str:
    """By the mark at the beginning, or by the zeros among the first bytes, since a header or a bracket is ASCII."""
    found = json.detect_encoding(signature)
    return "utf-8-sig" if found == "utf-8" else found
