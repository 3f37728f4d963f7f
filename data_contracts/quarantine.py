"""Rows that break a rule are set aside with the rule's name, counted, and kept."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dataframely as dy
import polars as pl

from data_contracts.errors import ContractViolation
from data_contracts.parquet import write_parquet
from data_contracts.schemas import QuarantinedRow

QUARANTINE = "quarantine.parquet"


@dataclass(frozen=True)
class Split:
    """The rows that keep a contract, and the others in the form of `QuarantinedRow`."""

    good: pl.DataFrame
    quarantined: pl.DataFrame


def split_by_contract(frame: pl.DataFrame, contract: type[dy.Schema], id_column: str) -> Split:
    """Divide `frame` by `contract`; a row that breaks several rules is filed under the first, with all in `detail`."""
    good, failures = contract.filter(frame, cast=True)
    if not len(failures):
        return Split(good, quarantine_rows(frame.head(0), id_column, "none"))
    details = failures.details()
    rules = [name for name in details.columns if name not in frame.columns]
    rows = []
    for row in details.to_dicts():
        broken = [rule for rule in rules if str(row[rule]) == "invalid"]
        kept = {name: row[name] for name in frame.columns}
        rows.append(_quarantined(kept, id_column, broken[0] if broken else "contract", ", ".join(broken)))
    return Split(good, _frame(rows))


def quarantine_rows(frame: pl.DataFrame, id_column: str, rule: str, detail: str = "") -> pl.DataFrame:
    """All rows of `frame`, filed under `rule`."""
    return _frame([_quarantined(row, id_column, rule, detail) for row in frame.to_dicts()])


def quarantine_judged(frame: pl.DataFrame, id_column: str) -> pl.DataFrame:
    """All rows of `frame`, each filed under what its own columns `rule` and `detail` say."""
    verdicts = frame.select("rule", "detail").iter_rows()
    rows = frame.drop("rule", "detail").to_dicts()
    return _frame([_quarantined(row, id_column, *verdict) for row, verdict in zip(rows, verdicts, strict=True)])


def write_quarantine(folder: Path, frames: Sequence[pl.DataFrame]) -> dict[str, int]:
    """Write `quarantine.parquet` (also when empty) and return the number of rows by rule."""
    rows = pl.concat([_frame([]), *frames]).sort("rule", "row_id", "row_json")
    write_parquet(rows, folder / QUARANTINE, QuarantinedRow)
    counts = rows.group_by("rule").len().sort("rule")
    return dict(zip(counts["rule"].to_list(), counts["len"].to_list(), strict=True))


def check_quarantine_limit(stage: str, read: int, counts: dict[str, int], limit: float) -> None:
    """Stop when more than `limit` (a share of the rows read) was set aside.

    Raises:
        ContractViolation: with the counts by rule.
    """
    lost = sum(counts.values())
    if read and lost > limit * read:
        raise ContractViolation(
            f"{stage}: {lost} of {read} rows ({lost / read:.1%}) would be quarantined, the limit is {limit:.1%}: "
            f"{counts}. Mend the source, or raise `execution.quarantine_limit` if this loss is meant"
        )


def _quarantined(row: dict[str, object], id_column: str, rule: str, detail: str) -> dict[str, str]:
    text = json.dumps(row, ensure_ascii=True, sort_keys=True, default=str)
    return {"row_id": str(row.get(id_column) or ""), "rule": rule, "detail": detail, "row_json": text}


def _frame(rows: Sequence[dict[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(QuarantinedRow.column_names(), pl.String))
