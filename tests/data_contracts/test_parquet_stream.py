"""Batch by batch is the same as all at once: the same rows, the same refusals, and memory that does not grow."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import sha256_of_file
from data_contracts.parquet import read_parquet, read_schema, read_verified
from data_contracts.parquet_stream import ROW_GROUP_ROWS, read_batches, row_count, verified_batches, written_in_batches
from data_contracts.schemas import TrainingRow


def training_rows(first: int, count: int) -> pl.DataFrame:
    rows = [
        {
            "row_id": f"p{index}:native", "pair_id": f"p{index}", "task": "native", "language_code": "swh",
            "prompt": f"swali {index}", "response": "jibu", "english_prompt": f"question {index}",
            "input_ids": list(range(2 + index % 5)), "prompt_length": 1, "english_input_ids": [index, 7],
        }
        for index in range(first, first + count)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=TrainingRow.create_empty().schema)


def write(path: Path, *batches: pl.DataFrame) -> Path:
    with written_in_batches(path, TrainingRow) as stream:
        for batch in batches:
            stream.write(batch)
    return path


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_batches_come_back_as_the_rows_that_were_written(tmp_path: Path, batch_rows: int) -> None:
    rows = training_rows(0, 10)
    path = write(tmp_path / "rows.parquet", rows.head(4), rows.slice(4, 0), rows.slice(4))
    assert row_count(path) == 10
    assert read_parquet(path, TrainingRow).equals(rows)
    batches = list(read_batches(path, TrainingRow, batch_rows))
    assert max(batch.height for batch in batches) == min(batch_rows, 10)
    assert pl.concat(batches).equals(rows)
    assert pl.concat(verified_batches(path, ["prompt"], batch_rows)).equals(rows.select("prompt"))


def test_bytes_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    rows = training_rows(0, ROW_GROUP_ROWS + 900)
    once = write(tmp_path / "once.parquet", rows)
    often = write(tmp_path / "often.parquet", *(rows.slice(at, 700) for at in range(0, rows.height, 700)))
    assert sha256_of_file(once) == sha256_of_file(often)


def test_file_without_rows_keeps_its_contract(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet")
    assert read_parquet(path, TrainingRow).is_empty()
    assert list(read_batches(path, TrainingRow)) == []


def test_key_that_comes_back_in_a_later_batch_is_refused_and_named(tmp_path: Path) -> None:
    batches = [training_rows(0, 5), training_rows(5, 5), training_rows(3, 1)]
    with pytest.raises(ContractViolation, match=r"2 of 11 rows break TrainingRow.*p3:native"):
        write(tmp_path / "rows.parquet", *batches)
    assert not list(tmp_path.iterdir())


def test_key_that_is_twice_in_one_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractViolation, match="primary_key"):
        write(tmp_path / "rows.parquet", pl.concat([training_rows(0, 2), training_rows(1, 1)]))


def test_broken_row_in_a_later_batch_leaves_no_file_and_the_old_one_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", training_rows(0, 3))
    before = path.read_bytes()
    with pytest.raises(ContractViolation, match="response_is_trained"):
        write(path, training_rows(0, ROW_GROUP_ROWS), training_rows(ROW_GROUP_ROWS, 1).with_columns(prompt_length=9))
    assert path.read_bytes() == before
    assert [at.name for at in tmp_path.iterdir()] == ["rows.parquet"]


def test_no_flipped_bit_gives_wrong_rows(tmp_path: Path) -> None:
    rows = training_rows(0, 400)
    path = write(tmp_path / "rows.parquet", rows)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    generator, detected = random.Random(0), 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[generator.randrange(4, len(whole) - footer)] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            # A page's header has no checksum: a flip there that changes no value may pass, a wrong value never.
            assert pl.concat(read_batches(path, TrainingRow, 50)).equals(rows)
        except ArtifactMismatch as error:
            assert "rows.parquet" in str(error)
            detected += 1
    assert detected > 40


@pytest.mark.parametrize(
    "read",
    [lambda path: list(verified_batches(path)), read_verified, lambda path: read_schema(path).names],
    ids=["batches", "at once", "columns"],
)
def test_damaged_names_of_columns_are_an_error_that_names_the_file(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = write(tmp_path / "rows.parquet", training_rows(0, 4))
    path.write_bytes(path.read_bytes().replace(b"english_prompt", b"english\xffprompt"))
    with pytest.raises(ArtifactMismatch, match=r"rows\.parquet"):
        read(path)


def test_missing_file_and_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMismatch, match=r"rows.parquet is missing"):
        list(read_batches(tmp_path / "rows.parquet", TrainingRow))
    path = write(tmp_path / "rows.parquet", training_rows(0, 1))
    with pytest.raises(ArtifactMismatch, match=r"lacks the columns \['quality'\]"):
        list(verified_batches(path, ["prompt", "quality"]))


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    program = """
import resource, sys, pathlib
import polars as pl
from data_contracts.parquet_stream import read_batches, written_in_batches
from data_contracts.schemas import QuarantinedRow
path, rows = pathlib.Path(sys.argv[1]), int(sys.argv[2])
peaks = []
with written_in_batches(path, QuarantinedRow) as stream:
    for first in range(0, rows, 1_000):
        if first == 20_000:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        ids = [str(first + index) for index in range(1_000)]
        batch = pl.DataFrame({"row_id": ids, "rule": "r", "detail": "", "row_json": [(i + " ") * 300 for i in ids]})
        stream.write(batch)
assert sum(batch.height for batch in read_batches(path, QuarantinedRow)) == rows
peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) / 1024)
"""
    # 200,000 rows of about 2 KB are 400 MiB; a reader or writer that kept them would show it.
    command = [sys.executable, "-c", program, str(tmp_path / "rows.parquet"), "200000"]
    grown = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 100
