"""Rules that a row must keep to be learnt from; one that does not is filed under the first rule it breaks."""

import hashlib
import json
from collections.abc import Iterable, Sequence

import polars as pl

from cc_tuning.selection import contamination
from cc_tuning.selection.columns import LABEL_COLUMNS, NOT_A_CONVERSATION
from cc_tuning.selection.contamination import ContaminationIndex
from cc_tuning.selection.sources import PROBLEM
from cc_tuning.selection.trees import TREE_RULES
from cc_tuning.text.languages import UnknownLanguage, find_language

DUPLICATE = "duplicate_row"
RULES = {
    "malformed_line": "the line is not a JSON object, or has not one CSV field per column",
    NOT_A_CONVERSATION: "the turns do not begin with a question and its answer",
    **TREE_RULES,
    "not_text": "inputs, targets, their English or language_code is a number, a list or an object",
    "invalid_unicode": "the row holds a lone surrogate or bytes that are not UTF-8",
    "null_text": "inputs or targets is null, or is the `nan` that a table of numbers makes of it",
    "empty_text": "inputs or targets has no visible character",
    "unknown_language": "language_code is not in cc_tuning/text/languages.csv",
    "english_incomplete": "only one of inputs_en and targets_en is there",
    **contamination.RULES,
    DUPLICATE: "another row has the same language_code, inputs and targets",
}
"""Faults of a row by their names, in the order in which rules are tried."""

# What a column of floats writes where a text is missing; numpy and pandas write it in two ways.
NOT_A_NUMBER = r"^(?:nan|NaN)$"
# Texts of white space of every kind, control characters, and format characters such as U+200F or U+FEFF.
INVISIBLE = r"^[\s\p{Z}\p{Cc}\p{Cf}]*$"

_ROW_ID_DIGITS = 32


def identify_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a source with `row_id` and `flores_code` (null where the language is not known).

    Labels and English texts that are blank or `nan` are null.
    """
    rows = rows.with_columns(
        pl.when(~_is_missing(pl.col(name))).then(pl.col(name)).alias(name)
        for name in ("inputs_en", "targets_en", *LABEL_COLUMNS)
    )
    return rows.with_columns(
        pl.Series("row_id", _row_ids(rows), pl.String),
        pl.Series("flores_code", _flores_codes(rows), pl.String),
    )


def judge_rows(identified: pl.DataFrame, normalised: pl.DataFrame, index: ContaminationIndex | None) -> pl.DataFrame:
    """The columns `rule` and `detail` for rows of one batch, null for sound ones; duplicates are not looked for."""
    rules = identified.select(rule=_first_broken_rule())["rule"].to_list()
    details = [rule and RULES[rule] for rule in rules]
    for row, finding in (index.find(normalised) if index else {}).items():
        if rules[row] is None:
            rules[row], details[row] = finding.rule, finding.detail
    return pl.DataFrame({"rule": rules, "detail": details}, schema={"rule": pl.String, "detail": pl.String})


def _row_ids(rows: pl.DataFrame) -> list[str]:
    """sha256 of language code, inputs and targets: the same row has the same id in every file."""
    contents: Iterable[Sequence[str | None]] = rows.select("language_code", "inputs", "targets").iter_rows()
    return [
        hashlib.sha256(json.dumps(content, ensure_ascii=True).encode("ascii")).hexdigest()[:_ROW_ID_DIGITS]
        for content in contents
    ]


def _flores_codes(rows: pl.DataFrame) -> list[str | None]:
    named = rows.select("language_code", pl.col("language", "inputs").fill_null(""))
    return [_flores_code(code, name, text) for code, name, text in named.iter_rows()]


def _flores_code(code: str | None, name: str, text: str) -> str | None:
    try:
        return None if code is None else find_language(code, name, text).flores_code
    except UnknownLanguage:
        return None


def _is_missing(column: pl.Expr) -> pl.Expr:
    return column.str.contains(INVISIBLE) | column.str.contains(NOT_A_NUMBER)


def _first_broken_rule() -> pl.Expr:
    text = [pl.col("inputs"), pl.col("targets")]
    broken = {
        "null_text": pl.any_horizontal(column.is_null() | column.str.contains(NOT_A_NUMBER) for column in text),
        "empty_text": pl.any_horizontal(column.str.contains(INVISIBLE) for column in text),
        "unknown_language": pl.col("flores_code").is_null(),
        "english_incomplete": pl.col("inputs_en").is_null() != pl.col("targets_en").is_null(),
    }
    return pl.coalesce(pl.col(PROBLEM), *(pl.when(condition).then(pl.lit(rule)) for rule, condition in broken.items()))
