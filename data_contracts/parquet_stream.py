"""Parquet batch by batch, for files that do not fit in memory: the same contracts and checksums as `parquet`.

A reader holds one batch and the pages it came from, a writer one row group; besides, the writer keeps 8 bytes per row,
because a primary key is unique over the whole file. Rules of a contract are about single rows, so checking a batch
checks its rows. Row groups have a fixed number of rows, so a file's bytes do not depend on how its rows were batched.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dataframely as dy
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import written_atomically
from data_contracts.parquet import as_frame, as_table, conform

BATCH_ROWS = 1_024
ROW_GROUP_ROWS = 8_192


def row_count(path: Path) -> int:
    """The number of rows that the file's footer tells.

    Raises:
        ArtifactMismatch: the file is missing or not parquet.
    """
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def column_names(path: Path) -> list[str]:
    """The columns of the file, in its order.

    Raises:
        ArtifactMismatch: the file is missing or not parquet.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_batches(path: Path, contract: type[dy.Schema], batch_rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
    """The rows of a file that keeps `contract`, at most `batch_rows` at a time, in the file's order.

    Keys are checked within a batch only; the file was checked as a whole when it was written.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not parquet.
        ContractViolation: the rows do not keep the contract.
    """
    for batch in verified_batches(path, batch_rows=batch_rows):
        yield conform(batch, contract, str(path))


def verified_batches(
    path: Path, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[pl.DataFrame]:
    """The rows of any parquet file (of some `columns`, without them of all), page checksums and UTF-8 verified.

    Raises:
        ArtifactMismatch: the file is missing, damaged, not parquet, or lacks a column.
    """
    with _opened(path) as file:
        absent = sorted(set(columns or ()) - set(file.schema_arrow.names))
        if absent:
            raise ArtifactMismatch(f"{path} lacks the columns {absent}; run the stage that writes it again")
        for batch in file.iter_batches(batch_rows, columns=columns):
            batch.validate(full=True)  # polars trusts that text is UTF-8
            yield as_frame(pa.Table.from_batches([batch]), path)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError as error:
        raise ArtifactMismatch(f"{path} is missing") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArtifactMismatch(
            f"{path} cannot be read as parquet: {error}; restore the file, or run the stage that writes it again"
        ) from error


class ParquetStream:
    """A parquet file that grows batch by batch; `written_in_batches` makes it."""

    def __init__(self, writer: pq.ParquetWriter, contract: type[dy.Schema], where: str) -> None:
        self._writer, self._contract, self._where = writer, contract, where
        self._waiting: pl.DataFrame = contract.create_empty()
        self._key_hashes = [pl.Series(dtype=pl.UInt64)]
        self.rows = 0
        """Rows taken so far."""

    def write(self, frame: pl.DataFrame) -> None:
        """Add the rows of `frame`.

        Raises:
            ContractViolation: a column is missing or a row breaks a rule.
        """
        checked = conform(frame, self._contract, self._where)
        self.rows += checked.height
        if keys := self._contract.primary_key():
            self._key_hashes.append(checked.select(keys).hash_rows())
        self._waiting = pl.concat([self._waiting, checked])
        while self._waiting.height >= ROW_GROUP_ROWS:
            self._write_group(self._waiting.head(ROW_GROUP_ROWS))
            self._waiting = self._waiting.slice(ROW_GROUP_ROWS)

    def flush(self) -> None:
        """Write the rows that wait for a row group of their own."""
        if self._waiting.height:
            self._write_group(self._waiting)
        self._waiting = self._contract.create_empty()

    def check_keys(self, written: Path) -> None:
        """Refuse the finished file at `written` when a primary key is there twice.

        Raises:
            ContractViolation: names the first of them.
        """
        hashes = pl.concat(self._key_hashes)
        suspects = hashes.filter(hashes.is_duplicated()).unique()
        if suspects.is_empty():
            return
        # Equal hashes are as a rule equal keys; the keys themselves decide.
        keys = self._contract.primary_key()
        types = self._contract.create_empty().select(keys).schema
        batches = (batch.cast(types) for batch in verified_batches(written, keys))
        found = pl.concat(batch.filter(batch.hash_rows().is_in(suspects.implode())) for batch in batches)
        repeated = found.filter(found.is_duplicated())
        if repeated.height:
            raise ContractViolation(
                f"{self._where}: {repeated.height} of {self.rows} rows break {self._contract.__name__}: they share "
                f"their primary key with another row; first: {repeated.row(0, named=True)}"
            )

    def _write_group(self, rows: pl.DataFrame) -> None:
        # In one piece: pages must not end where the batches did.
        self._writer.write_table(as_table(rows.rechunk(), self._contract), row_group_size=ROW_GROUP_ROWS)


@contextmanager
def written_in_batches(path: Path, contract: type[dy.Schema]) -> Iterator[ParquetStream]:
    """A file under `contract` that takes its name once the block ends without an error; its batches go to `write`.

    Raises:
        ContractViolation: a batch breaks the contract, or a primary key is there twice; nothing is left behind.
    """
    schema = as_table(contract.create_empty(), contract).schema
    with written_atomically(path) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer:
            stream = ParquetStream(writer, contract, str(path))
            yield stream
            stream.flush()
        stream.check_keys(temporary)
