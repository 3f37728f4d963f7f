"""The counts of finished artifacts: read batch by batch, so that texts and token ids are never all in memory.

Inputs are named as in the report: `select`, `translate`, `distill` and `materialize/<run>`. Any may be missing. Of
several `materialize` artifacts the rows of the first are read, because those of the task `native` are the same for all
runs on the same pairs. Preference rows are of another kind and are not counted here.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from cc_tuning.report.data_card.counts import ALL, LENGTHS, UNKNOWN, DataCounts, Lengths, SetAside
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import UnknownLanguage, by_flores_code, find_language
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json
from data_contracts.layout import (
    PAIRS,
    PREFERENCE_ROWS,
    SELECTED_ROWS,
    SELECTION_SUMMARY,
    TRAINING_ROWS,
    TRAINING_ROWS_SUMMARY,
)
from data_contracts.manifest_file import MANIFEST
from data_contracts.parquet_stream import verified_batches
from data_contracts.quarantine import QUARANTINE

_MATERIALIZE = "materialize/"
_QUALITY, _FLAGS = "quality", "flags"
_LANGUAGE = pl.col("language")
_PROMPT, _RESPONSE, _PROMPT_TOKENS, _RESPONSE_TOKENS, _ENGLISH_TOKENS = LENGTHS


def collect_counts(inputs: Mapping[str, Location]) -> DataCounts:
    """The counts of the artifacts in `inputs`.

    Raises:
        ArtifactMismatch: a file of an artifact is missing or damaged, or a manifest does not name the setting.
    """
    inputs = {name: location for name, location in inputs.items() if not _has_preference_rows(name, location)}
    select, translate = inputs.get("select"), inputs.get("translate")
    materialize = next((inputs[name] for name in inputs if name.startswith(_MATERIALIZE)), None)
    chosen = _read(select.path / SELECTED_ROWS, ["language_code"]) if select else None
    pairs = _measured_pairs(translate.path / PAIRS) if translate else None
    rows = _measured_rows(materialize.path / TRAINING_ROWS) if materialize else None
    distill = inputs.get("distill")
    stages = {"select": select, "translate": translate, "distill": distill, "materialize": materialize}
    return DataCounts(
        read=_from_selection(select, "read"),
        near_duplicates=_from_selection(select, "near_duplicates_kept"),
        chosen=_counts(chosen),
        pairs=_counts(pairs),
        origins=_counts_of(pairs, "origin"),
        training_rows=_counts(rows),
        tasks=_rows_by_task(inputs),
        lengths=_lengths(pairs) | _lengths(rows),
        quality=_mean_quality(pairs),
        flags=_counts_of(pairs, _FLAGS),
        set_aside=[part for stage, at in stages.items() if at for part in _set_aside(stage, at.path / QUARANTINE)],
    )


def _rows_by_task(inputs: Mapping[str, Location]) -> dict[tuple[str, str], int]:
    """Training rows by setting and task, as the first `materialize` of each setting counted them."""
    counted: dict[str, Mapping[str, int]] = {}
    for name, location in inputs.items():
        if name.startswith(_MATERIALIZE):
            summary = read_json(location.path / TRAINING_ROWS_SUMMARY)
            counted.setdefault(_setting(location.path / MANIFEST), summary["rows_by_task"])
    return {(setting, task): rows for setting, by_task in counted.items() for task, rows in by_task.items()}


def _has_preference_rows(name: str, location: Location) -> bool:
    return name.startswith(_MATERIALIZE) and (location.path / PREFERENCE_ROWS).is_file()


def _setting(path: Path) -> str:
    """The data setting of an artifact of `materialize`."""
    manifest = read_json(path)
    try:
        return str(manifest["config"]["setting"])
    except KeyError as error:
        raise ArtifactMismatch(f"{path} lacks {error}; run the stage that writes it again") from error


def language_key(code: object) -> str:
    """Aya's code of the language with this code, or `unknown`."""
    try:
        return find_language(code).aya_code if isinstance(code, str) else UNKNOWN
    except UnknownLanguage:
        return UNKNOWN


def flores_key(code: str) -> str:
    """Aya's code of the language with this FLORES code, or `unknown`."""
    try:
        return by_flores_code(code).aya_code
    except UnknownLanguage:
        return UNKNOWN


def with_language(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the column `language`, the key of its `language_code`."""
    keys = {code: language_key(code) for code in frame["language_code"].unique().to_list()}
    return frame.with_columns(pl.col("language_code").replace_strict(keys, return_dtype=pl.String).alias("language"))


def _measured_pairs(path: Path) -> pl.DataFrame | None:
    measures = [
        pl.col("origin").cast(pl.String),
        pl.col("inputs").str.len_chars().alias(_PROMPT),
        pl.col("targets").str.len_chars().alias(_RESPONSE),
    ]
    return _read(
        path,
        ["language_code", "origin", "inputs", "targets", _QUALITY, _FLAGS],
        lambda batch: batch.select(_LANGUAGE, *measures, _QUALITY, _FLAGS),
    )


def _measured_rows(path: Path) -> pl.DataFrame | None:
    lengths = [
        pl.col("prompt_length").alias(_PROMPT_TOKENS),
        (pl.col("input_ids").list.len() - pl.col("prompt_length")).alias(_RESPONSE_TOKENS),
        pl.col("english_input_ids").list.len().alias(_ENGLISH_TOKENS),
    ]
    is_native = pl.col("task").cast(pl.String) == "native"
    return _read(
        path,
        ["language_code", "task", "prompt_length", "input_ids", "english_input_ids"],
        lambda batch: batch.filter(is_native).select(_LANGUAGE, *lengths),
    )


def _read(
    path: Path, columns: Sequence[str], measure: Callable[[pl.DataFrame], pl.DataFrame] = lambda batch: batch
) -> pl.DataFrame | None:
    """What `measure` makes of each batch (its `columns` and `language`); None when there is no row."""
    measured = [measure(with_language(batch)) for batch in verified_batches(path, columns)]
    return pl.concat(measured) if measured else None


def _with_all(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows.with_columns(language=pl.lit(ALL)), rows])


def _from_selection(select: Location | None, count: str) -> dict[str, int]:
    """One of the counts by language that `select` leaves beside its rows."""
    if select is None:
        return {}
    rows: Counter[str] = Counter()
    for flores_code, fates in read_json(select.path / SELECTION_SUMMARY)["languages"].items():
        rows[flores_key(flores_code)] += fates[count]
    return {ALL: rows.total(), **rows}


def _counts(rows: pl.DataFrame | None) -> dict[str, int]:
    if rows is None:
        return {}
    return dict(_with_all(rows.select("language")).group_by("language").len().iter_rows())


def _counts_of(rows: pl.DataFrame | None, column: str) -> dict[tuple[str, str], int]:
    """Rows by language and value of a column; of a column of lists, by each value."""
    if rows is None:
        return {}
    values = rows.select("language", column)
    values = values.explode(column).drop_nulls() if values[column].dtype == pl.List else values
    counted = _with_all(values).group_by("language", column).len()
    return {(language, value): number for language, value, number in counted.iter_rows()}


def _lengths(rows: pl.DataFrame | None) -> dict[str, dict[str, Lengths]]:
    found: dict[str, dict[str, Lengths]] = {}
    for name in LENGTHS if rows is not None else ():
        assert rows is not None
        if name in rows.columns:
            ranks = [_nearest_rank(name, share).alias(str(share)) for share in (0.5, 0.9, 1.0)]
            by_language = _with_all(rows.select("language", name)).group_by("language").agg(ranks)
            found[name] = {str(language): Lengths(*values) for language, *values in by_language.iter_rows()}
    return found


def _nearest_rank(column: str, share: float) -> pl.Expr:
    """The value that `share` of the rows do not pass: at place ⌈share · N⌉ of the sorted ones."""
    place = (pl.len() * share).ceil().cast(pl.Int64)
    return pl.col(column).sort().get(place - 1)


def _mean_quality(pairs: pl.DataFrame | None) -> dict[str, float]:
    if pairs is None:
        return {}
    translated = pairs.filter(pl.col("origin") == "translated").select("language", _QUALITY)
    return dict(_with_all(translated).group_by("language").agg(pl.col(_QUALITY).mean()).iter_rows())


def _set_aside(stage: str, path: Path) -> list[SetAside]:
    counts: Counter[tuple[str, str]] = Counter()
    for batch in verified_batches(path, ["rule", "row_json"]):
        counts.update((rule, language_key(_code(row_json))) for rule, row_json in batch.iter_rows())
    return [SetAside(stage, rule, language, rows) for (rule, language), rows in sorted(counts.items())]


def _code(row_json: str) -> object:
    """The language code of a quarantined row, if the row is one that has it."""
    row = json.loads(row_json)
    return row.get("language_code") if isinstance(row, dict) else None
