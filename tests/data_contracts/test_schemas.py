"""Names in columns: those of the method, and readable when more of them come."""

from pathlib import Path
from typing import get_args

import dataframely as dy
import polars as pl
import pytest

from cc_tuning.distillation.config import DistillationConfig
from cc_tuning.evaluation.config import Competitor
from cc_tuning.model.config import ConnectionMode
from data_contracts.errors import ContractViolation
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.schemas import CONNECTIONS, SDRRL_TASKS


class Named(dy.Schema):
    number = dy.Int64(primary_key=True, nullable=False)
    name = dy.Enum(["first", "second"], nullable=False)


class NamedLater(dy.Schema):
    number = dy.Int64(primary_key=True, nullable=False)
    name = dy.Enum(["first", "second", "third"], nullable=False)


def test_names_in_columns_are_those_of_the_method() -> None:
    assert (*get_args(ConnectionMode), *get_args(Competitor)) == CONNECTIONS
    assert tuple(DistillationConfig().shares) == SDRRL_TASKS


def test_a_file_from_before_a_name_was_added_is_read(tmp_path: Path) -> None:
    rows = pl.DataFrame({"number": [1, 2, 3], "name": ["second", "first", "second"]})
    write_parquet(rows, tmp_path / "rows.parquet", Named)
    read = read_parquet(tmp_path / "rows.parquet", NamedLater)
    assert read["name"].cast(pl.String).to_list() == ["second", "first", "second"]


def test_a_name_that_is_not_in_the_list_breaks_the_contract(tmp_path: Path) -> None:
    with pytest.raises(ContractViolation, match="name"):
        write_parquet(pl.DataFrame({"number": [1], "name": ["third"]}), tmp_path / "rows.parquet", Named)
