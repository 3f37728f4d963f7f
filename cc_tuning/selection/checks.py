"""Which rows of a source are fit to learn from; each of the others under the first rule that it breaks."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from cc_tuning.languages import UnknownLanguage, find_language
from cc_tuning.selection.sources import COLUMNS, PROBLEM
from data_contracts.quarantine import quarantine_rows

RULES = {
    "malformed_line": "the line is not a JSON object, or has not one CSV field per column",
    "not_text": "inputs, targets or language_code is not text",
    "invalid_unicode": "the row holds a lone surrogate or bytes that are not UTF-8",
    "null_text": "inputs or targets is null",
    "empty_text": "inputs or targets has no visible character",
    "unknown_language": "language_code is not in cc_tuning/languages.csv",
    "english_incomplete": "only one of inputs_en and targets_en is there",
    "duplicate_row": "another row has the same language_code, inputs and targets",
}
"""What a row must not be, in the order in which rules are tried."""

# Texts of white space of every kind, control characters, and format characters such as U+200F or U+FEFF.
INVISIBLE = r"^[\s\p{Z}\p{Cc}\p{Cf}]*$"

_RULE = "rule"
_ROW_ID_DIGITS = 32


@dataclass(frozen=True)
class CheckedRows:
    """A source's rows, divided."""

    good: pl.DataFrame
    """Columns `row_id` and `COLUMNS`; the source's order does not show in it."""
    quarantined: tuple[pl.DataFrame, ...]


def check_rows(rows: pl.DataFrame) -> CheckedRows:
    """Divide what `read_source` gave; every row is in exactly one of the two parts."""
    columns = ("row_id", *COLUMNS)
    english = [
        pl.when(~pl.col(name).str.contains(INVISIBLE)).then(pl.col(name)).alias(name)
        for name in ("inputs_en", "targets_en")
    ]
    identified = rows.with_columns(english).with_columns(pl.Series("row_id", _row_ids(rows), pl.String))
    judged = identified.with_columns(_first_broken_rule(rows["language_code"].unique().to_list()).alias(_RULE))
    # Sorted by everything, so that among duplicates the same one stays whatever the source's order.
    sound = judged.filter(pl.col(_RULE).is_null()).select(columns).sort(columns)
    good = sound.unique("row_id", keep="first", maintain_order=True)
    repeated = sound.filter(~pl.col("row_id").is_first_distinct())
    quarantined = [
        quarantine_rows(part.select(columns), "row_id", rule, RULES[rule])
        for (rule,), part in judged.filter(pl.col(_RULE).is_not_null()).group_by([_RULE], maintain_order=True)
        if isinstance(rule, str)
    ]
    return CheckedRows(
        good, (*quarantined, quarantine_rows(repeated, "row_id", "duplicate_row", RULES["duplicate_row"]))
    )


def _row_ids(rows: pl.DataFrame) -> list[str]:
    """sha256 of language code, inputs and targets: the same row has the same id in every file."""
    contents: Iterable[Sequence[str | None]] = rows.select("language_code", "inputs", "targets").iter_rows()
    return [
        hashlib.sha256(json.dumps(content, ensure_ascii=True).encode("ascii")).hexdigest()[:_ROW_ID_DIGITS]
        for content in contents
    ]


def _first_broken_rule(codes: Sequence[str | None]) -> pl.Expr:
    known = [code for code in codes if code is not None and _is_known(code)]
    text = [pl.col("inputs"), pl.col("targets")]
    broken = {
        "null_text": pl.any_horizontal(column.is_null() for column in text),
        "empty_text": pl.any_horizontal(column.str.contains(INVISIBLE) for column in text),
        "unknown_language": ~pl.col("language_code").is_in(known).fill_null(False),
        "english_incomplete": pl.col("inputs_en").is_null() != pl.col("targets_en").is_null(),
    }
    return pl.coalesce(pl.col(PROBLEM), *(pl.when(condition).then(pl.lit(rule)) for rule, condition in broken.items()))


def _is_known(code: str) -> bool:
    try:
        find_language(code)
    except UnknownLanguage:
        return False
    return True
