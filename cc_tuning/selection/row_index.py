"""One line for each row of a source, small enough to hold millions: where it stands, what it is, what is wrong with it.

A source is read in batches, and of a sound row only its line stays in memory. Rows are fetched again by position: those
that must be told apart from their duplicates, and at the end the chosen ones. What a line says depends on its row
alone, so the source's order shows in nothing but the positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from cc_tuning.runtime.sources import Location
from cc_tuning.selection.checks import DUPLICATE, RULES, identify_rows, judge_rows
from cc_tuning.selection.columns import SourceColumns
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.contamination import ContaminationIndex
from cc_tuning.selection.normalisation import normalise
from cc_tuning.selection.sources import ANSWER_RANK, COLUMNS, FURTHER_TURNS, read_batches, read_rows_at
from cc_tuning.text.draws import draw_places
from cc_tuning.text.languages import all_languages
from data_contracts.errors import ArtifactMismatch
from data_contracts.quarantine import quarantine_judged

UNKNOWN = "unknown"
"""The annotation type or user of a row whose source gives none."""

_TEXTS = ("inputs", "targets", "inputs_en", "targets_en")
_SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "position": pl.Int64,
    "row_id": pl.String,
    "flores_code": pl.String,
    "rule": pl.String,  # the rule that the row breaks
    FURTHER_TURNS: pl.Int64,
    "reason": pl.String,  # why the recipe does not ask for the row
    ANSWER_RANK: pl.Int64,
    "place": pl.UInt64,  # in the draw
    "wording": pl.UInt64,  # hash of the normalised prompt and response; null when one of them has no word
}


@dataclass(frozen=True)
class RowIndex:
    """All that is known of a source's rows after reading them once."""

    lines: pl.DataFrame
    """One line per row, in the source's order."""
    quarantined: tuple[pl.DataFrame, ...]
    """The rows whose line has a rule, in the form of `QuarantinedRow`."""


def read_row_index(source: Location, config: SelectionConfig, contamination: ContaminationIndex | None) -> RowIndex:
    """Read and judge every row of a source; raises as `read_batches`."""
    lines = [pl.DataFrame(schema=_SCHEMA)]
    quarantined: list[pl.DataFrame] = []
    start = 0
    for batch in read_batches(source, config.columns):
        identified = identify_rows(batch)
        normalised = pl.DataFrame([normalise(identified[name]) for name in _TEXTS])
        judged = identified.with_columns(judge_rows(identified, normalised, contamination))
        lines.append(
            judged.select(
                pl.int_range(start, start + batch.height).alias("position"),
                "row_id",
                "flores_code",
                "rule",
                FURTHER_TURNS,
                _first_reason(config).alias("reason"),
                ANSWER_RANK,
                place=draw_places(identified["row_id"].to_list(), config.seed),
                wording=_wording(normalised),
            )
        )
        quarantined.append(_set_aside(judged.filter(pl.col("rule").is_not_null())))
        start += batch.height
    return _without_duplicates(source, config.columns, RowIndex(pl.concat(lines, rechunk=True), tuple(quarantined)))


def fetch_rows(source: Location, lines: pl.DataFrame, source_columns: SourceColumns) -> pl.DataFrame:
    """The rows of some lines, with `row_id`, `flores_code` and `position`, in the source's order.

    Raises:
        ArtifactMismatch: a row is not the one that its line was written for.
    """
    lines = lines.sort("position")
    rows = identify_rows(read_rows_at(source, lines["position"], source_columns)).with_columns(lines["position"])
    changed = lines["position"].filter(rows["row_id"] != lines["row_id"])
    if changed.len():
        raise ArtifactMismatch(
            f"{source.name} changed while it was read: row {changed[0]} (counted from 0) is another one now; "
            "leave it alone and run again"
        )
    return rows


def _without_duplicates(source: Location, source_columns: SourceColumns, index: RowIndex) -> RowIndex:
    repeated = index.lines.filter(pl.col("rule").is_null()).filter(pl.col("row_id").is_duplicated())
    if repeated.is_empty():
        return index
    columns = ("row_id", *COLUMNS)
    # Sorted by everything, so that among duplicates the same one stays whatever the source's order.
    fetched = fetch_rows(source, repeated, source_columns)
    rows = fetched.sort(*columns, ANSWER_RANK, nulls_last=[False] * len(columns) + [True])
    surplus = rows.filter(~pl.col("row_id").is_first_distinct())
    is_surplus = pl.col("position").is_in(surplus["position"].implode())
    lines = index.lines.with_columns(rule=pl.when(is_surplus).then(pl.lit(DUPLICATE)).otherwise("rule"))
    judged = surplus.with_columns(rule=pl.lit(DUPLICATE), detail=pl.lit(RULES[DUPLICATE]))
    return RowIndex(lines, (*index.quarantined, _set_aside(judged)))


def _set_aside(judged: pl.DataFrame) -> pl.DataFrame:
    return quarantine_judged(judged.select("row_id", *COLUMNS, "rule", "detail"), "row_id")


def _wording(normalised: pl.DataFrame) -> pl.Series:
    has_words = pl.min_horizontal(pl.col("inputs", "targets").str.len_bytes()) > 0
    both = pl.concat_str("inputs", "targets", separator="\n")
    return normalised.select(pl.when(has_words).then(both).hash()).to_series()


def _first_reason(config: SelectionConfig) -> pl.Expr:
    """Why the recipe does not ask for a row, null when it does."""
    texts = [pl.col(name).str.len_chars() for name in ("inputs", "targets")]
    reasons: dict[str, pl.Expr] = {}
    if config.languages:
        asked = [language.flores_code for language in all_languages() if language.aya_code in config.languages]
        reasons["another_language"] = ~pl.col("flores_code").is_in(asked)
    if config.annotation_types:
        held = pl.col("annotation_type").fill_null(UNKNOWN)
        reasons["another_annotation_type"] = ~held.is_in(list(config.annotation_types))
    reasons["too_short"] = pl.min_horizontal(texts) < config.min_characters
    if config.max_characters is not None:
        reasons["too_long"] = pl.max_horizontal(texts) > config.max_characters
    return pl.coalesce(*(pl.when(unasked).then(pl.lit(reason)) for reason, unasked in reasons.items()))
