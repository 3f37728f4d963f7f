"""The first stage: check a source's rows and choose the ones of this experiment.

The paper takes 20,236 rows of Aya and does not say how they were chosen. Here a row's place in the draw is the hash of
the seed and the row's id, so the choice depends on neither the order of the source nor the number of rows around it.
Rows that repeat a benchmark item are set aside first, unless the recipe says otherwise.
"""

import logging

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.items import load_items
from cc_tuning.runtime.step import Build
from cc_tuning.selection import contamination
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.contamination import ContaminationIndex
from cc_tuning.selection.draw import draw_rows
from cc_tuning.selection.row_index import UNKNOWN, RowIndex, fetch_rows, read_row_index
from cc_tuning.selection.summary import SelectionSummary, summarise
from cc_tuning.text.languages import by_flores_code
from data_contracts.errors import ContractViolation
from data_contracts.files import write_json
from data_contracts.layout import SELECTED_ROWS, SELECTION_SUMMARY
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.quarantine import check_quarantine_limit, write_quarantine
from data_contracts.schemas import AyaRow

logger = logging.getLogger(__name__)


_EXAMPLE_CHARACTERS = 200


def build_selection(build: Build[SelectionConfig]) -> RowCounts:
    """Write the chosen rows, sorted by id, the quarantined ones, and what became of each language's.

    Raises:
        ConfigError: the source is of no known kind, no row is left to choose, or `items` holds no parquet file.
        ContractViolation: columns are missing, or more rows are unfit than the limit allows.
        ArtifactMismatch: the source or a file of items is damaged, or the source changed while it was read.
    """
    config, source = build.config, build.inputs["source"]
    index = read_row_index(source, config, _contamination_index(build))
    counts = write_quarantine(build.folder, index.quarantined)
    _check_limit(build, index, counts)
    asked_for = index.lines.filter(pl.col("rule").is_null(), pl.col("reason").is_null())
    chosen = draw_rows(asked_for, config)
    summary = summarise(index.lines, chosen)
    if chosen.is_empty():
        raise ConfigError(_nothing_chosen(source.name, config, summary))
    if chosen.height < config.rows:
        logger.info(
            "select: %s holds %d of the %d rows asked for; all are taken", source.name, chosen.height, config.rows
        )
    if summary.total.further_turns:
        logger.info(
            "select: %d turns after the first exchange of a conversation are not read", summary.total.further_turns
        )
    write_parquet(
        _completed(fetch_rows(source, chosen, config.columns)).sort("row_id"), build.folder / SELECTED_ROWS, AyaRow
    )
    write_json(build.folder / SELECTION_SUMMARY, summary.model_dump(mode="json"))
    build.progress(chosen.height, chosen.height, "rows")
    return RowCounts(
        read=summary.total.read,
        kept=summary.total.kept,
        quarantined=counts,
        not_selected=sum(summary.total.not_selected.values()),
    )


def _contamination_index(build: Build[SelectionConfig]) -> ContaminationIndex | None:
    config = build.config
    if config.decontamination == "none":
        return None
    loaded = load_items(build.inputs["items"].path)
    logger.info("select: rows are compared with %d benchmark items", loaded.items.height)
    return ContaminationIndex(loaded.items, config.decontamination_ngram if config.decontamination == "ngram" else None)


def _check_limit(build: Build[SelectionConfig], index: RowIndex, counts: dict[str, int]) -> None:
    """Contaminated rows do not count: that a benchmark is in the source is no sign that the source is broken."""
    unfit = {rule: count for rule, count in counts.items() if rule not in contamination.RULES}
    try:
        check_quarantine_limit("select", index.lines.height, unfit, build.execution.quarantine_limit)
    except ContractViolation as violation:
        source = build.inputs["source"].name
        raise ContractViolation(f"{violation}. Source: {source}. First of each rule:\n{_examples(index)}") from None


def _completed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns that a source may lack: the language's name from the table, the rest unknown."""
    names = [name or by_flores_code(code).name for name, code in rows.select("language", "flores_code").iter_rows()]
    return rows.with_columns(
        pl.Series("language", names, pl.String),
        pl.col("annotation_type").fill_null(UNKNOWN),
        pl.col("user_id").fill_null(UNKNOWN),
    )


def _examples(index: RowIndex) -> str:
    rows = pl.concat(index.quarantined).sort("rule", "row_id").unique("rule", keep="first", maintain_order=True)
    examples = rows.select("rule", "detail", pl.col("row_json").str.head(_EXAMPLE_CHARACTERS)).iter_rows()
    return "\n".join(f"  {rule} ({detail}): {row_json}" for rule, detail, row_json in examples)


def _nothing_chosen(source: str, config: SelectionConfig, summary: SelectionSummary) -> str:
    total = summary.total
    return (
        f"{source}: none of {total.read} rows was chosen; sound rows: {total.sound}, not asked for: "
        f"{total.not_selected}, set aside: {total.quarantined}; languages asked for: "
        f"{', '.join(config.languages) or 'all'}. Check `data.languages` against the column language_code, and the "
        "other limits under `data`"
    )
