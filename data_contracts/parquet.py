"""Parquet through a contract: checked when written, checked when read, every page with its checksum.

pyarrow writes and reads because it verifies page checksums; without them most single-bit flips pass silently
(docs/architecture.md). Bytes depend on the rows only, so equal artifacts have equal sha256.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import dataframely as dy
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import written_atomically

_ROW_GROUP_ROWS = 50_000


def write_parquet(frame: pl.DataFrame, path: Path, contract: type[dy.Schema]) -> None:
    """Write `frame` under `contract`, whole or not at all.

    Raises:
        ContractViolation: a column is missing or a row breaks a rule; nothing is written.
    """
    checked = conform(frame, contract, str(path))
    table = as_table(checked, contract)
    with written_atomically(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True, row_group_size=_ROW_GROUP_ROWS)


def as_table(checked: pl.DataFrame, contract: type[dy.Schema]) -> pa.Table:
    """Rows that keep `contract` in the types they have on disk, with the contract's name beside them."""
    table = checked.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.replace_schema_metadata({"contract": contract.__name__})


def read_parquet(path: Path, contract: type[dy.Schema]) -> pl.DataFrame:
    """The rows of a file that keeps `contract`, page checksums verified.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not parquet.
        ContractViolation: the rows do not keep the contract.
    """
    return conform(read_verified(path), contract, str(path))


def read_verified(path: Path) -> pl.DataFrame:
    """The rows of any parquet file, page checksums verified where the file has them.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not parquet, or holds text that is not UTF-8.
    """
    table = read_table(path)
    try:
        # polars trusts that text is UTF-8 and panics, or worse, where it is not.
        table.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ArtifactMismatch(f"{path} holds invalid values: {error}; write the file again as UTF-8") from error
    return as_frame(table, path)


def as_frame(table: pa.Table, path: Path) -> pl.DataFrame:
    """The rows of a table that was read from `path`, as polars has them.

    Raises:
        ArtifactMismatch: the names or types of its columns, which no page checksum covers, are damaged.
    """
    try:
        frame = pl.from_arrow(table)
    except pl.exceptions.PanicException as error:  # is no Exception, so nothing above would catch it
        raise ArtifactMismatch(
            f"{path} has columns that cannot be read ({error}); restore the file, or run the stage that writes it again"
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def read_table(path: Path) -> pa.Table:
    """The pages of any parquet file, checksums verified where the file has them; their values are not looked at.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not parquet.
    """
    with _damage_is_named(path):
        return pq.read_table(path, page_checksum_verification=True)


def read_schema(path: Path) -> pa.Schema:
    """The columns of any parquet file.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not parquet.
    """
    with _damage_is_named(path):
        schema = pq.read_schema(path)
        _decoded = schema.names  # read as UTF-8 only when asked for
        return schema


def read_table_batches(path: Path, columns: Collection[str], rows: int) -> Iterator[pa.Table]:
    """As `read_table`, but only some columns and at most `rows` rows at a time, in the file's order.

    Raises:
        ArtifactMismatch: the file is missing, damaged or not parquet; found when its place is reached.
    """
    with _damage_is_named(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
            yield pa.Table.from_batches([batch])


@contextmanager
def _damage_is_named(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactMismatch(f"{path} is missing") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArtifactMismatch(
            f"{path} cannot be read as parquet: {error}; restore the file, or run the stage that writes it again"
        ) from error


def conform(frame: pl.DataFrame, contract: type[dy.Schema], where: str) -> pl.DataFrame:
    """`frame` with the contract's columns, order and types.

    Raises:
        ContractViolation: names the columns that are missing, or each broken rule with its count.
    """
    missing = [name for name in contract.column_names() if name not in frame.columns]
    if missing:
        raise ContractViolation(f"{where}: {contract.__name__} needs the columns {missing}; got {frame.columns}")
    good, failures = contract.filter(frame.select(contract.column_names()), cast=True)
    if len(failures):
        raise ContractViolation(
            f"{where}: {len(failures)} of {frame.height} rows break {contract.__name__}: {failures.counts()}; "
            f"first: {failures.invalid().head(1).to_dicts()}"
        )
    return good
