"""Parquet through a contract: nothing wrong is written, nothing damaged is read."""

import random
from pathlib import Path

import polars as pl
import pytest

from data_contracts.errors import ArtifactMismatch, ContractViolation
from data_contracts.files import sha256_of_file
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import QUARANTINE, check_quarantine_limit, split_by_contract, write_quarantine
from data_contracts.schemas import AyaRow, BenchmarkItem, QuarantinedRow


def aya_rows(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": [f"r{index}" for index in range(count)],
            "inputs": [f"swali {index} {'ا' * index}" for index in range(count)],
            "targets": [f"jibu {index}" for index in range(count)],
            "language": "Swahili",
            "language_code": "swh",
            "annotation_type": "original-annotations",
            "user_id": "u",
            "inputs_en": pl.Series([None] * count, dtype=pl.String),
            "targets_en": pl.Series([None] * count, dtype=pl.String),
        }
    )


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    rows = aya_rows(7)
    write_parquet(rows, tmp_path / "rows.parquet", AyaRow)
    assert read_parquet(tmp_path / "rows.parquet", AyaRow).equals(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_equal_rows_have_equal_bytes(tmp_path: Path) -> None:
    write_parquet(aya_rows(7), tmp_path / "a.parquet", AyaRow)
    write_parquet(aya_rows(7), tmp_path / "b.parquet", AyaRow)
    assert sha256_of_file(tmp_path / "a.parquet") == sha256_of_file(tmp_path / "b.parquet")


def test_a_row_that_breaks_the_contract_is_not_written(tmp_path: Path) -> None:
    rows = aya_rows(3).with_columns(targets=pl.Series(["x", "", "y"]))
    with pytest.raises(ContractViolation, match="targets"):
        write_parquet(rows, tmp_path / "rows.parquet", AyaRow)
    assert not list(tmp_path.iterdir())


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractViolation, match="user_id"):
        write_parquet(aya_rows(3).drop("user_id"), tmp_path / "rows.parquet", AyaRow)


def test_no_flipped_bit_gives_wrong_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = aya_rows(400)
    write_parquet(rows, path, AyaRow)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    generator = random.Random(0)
    detected = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[generator.randrange(4, len(whole) - footer)] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            # A page's header has no checksum: a flip there that changes no value may pass, a wrong value never.
            assert read_parquet(path, AyaRow).equals(rows)
        except ArtifactMismatch as error:
            assert "rows.parquet" in str(error)
            detected += 1
    assert detected > 40


def test_a_truncated_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(aya_rows(40), path, AyaRow)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactMismatch, match="run the stage that writes it again"):
        read_parquet(path, AyaRow)


def test_splitting_keeps_every_row_and_names_the_rule(tmp_path: Path) -> None:
    rows = aya_rows(4).with_columns(targets=pl.Series(["x", "", None, "y"]))
    split = split_by_contract(rows, AyaRow, "row_id")
    counts = write_quarantine(tmp_path, [split.quarantined])
    assert split.good["row_id"].to_list() == ["r0", "r3"]
    assert counts == {"targets|min_length": 1, "targets|nullability": 1}
    kept = read_parquet(tmp_path / QUARANTINE, QuarantinedRow)
    assert sorted(kept["row_id"]) == ["r1", "r2"]
    assert '"inputs": "swali 1' in kept.filter(pl.col("row_id") == "r1")["row_json"].item()


def test_too_many_quarantined_rows_stop_the_stage_with_the_counts() -> None:
    check_quarantine_limit("select", 100, {"empty": 5}, 0.05)
    with pytest.raises(ContractViolation, match=r"6 of 100 rows.*empty.*6"):
        check_quarantine_limit("select", 100, {"empty": 6}, 0.05)


def test_items_with_lists_and_enums_come_back(tmp_path: Path) -> None:
    items = BenchmarkItem.sample(5)
    write_parquet(items, tmp_path / "items.parquet", BenchmarkItem)
    assert read_parquet(tmp_path / "items.parquet", BenchmarkItem).equals(items)
