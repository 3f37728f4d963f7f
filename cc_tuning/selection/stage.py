"""The first stage: check a source's rows and choose the ones of this experiment.

The paper takes 20,236 rows of Aya and does not say how they were chosen. Here a row's place in the draw is the hash of
the seed and the row's id, so the choice depends on neither the order of the source nor the number of rows around it.
"""

import hashlib
import logging

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from cc_tuning.errors import ConfigError
from cc_tuning.languages import UnknownLanguage, find_language
from cc_tuning.selection.checks import CheckedRows, check_rows
from cc_tuning.selection.sources import read_source
from cc_tuning.step import Build, Source, Step
from data_contracts.errors import ContractViolation
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.quarantine import check_quarantine_limit, write_quarantine
from data_contracts.schemas import AyaRow

logger = logging.getLogger(__name__)

VERSION = 1
ROWS = "rows.parquet"

_EXAMPLE_CHARACTERS = 200


class SelectionConfig(BaseModel):
    """How many rows to learn from, and of which languages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(
        default=20236, ge=1, description="Rows to choose (paper: 20,236, appendix A.1); fewer if the source has fewer."
    )
    languages: tuple[str, ...] = Field(
        default=(), description="Codes such as `spa` or `swh`; none means every language."
    )
    seed: int = Field(default=0, ge=0, description="Another seed chooses other rows.")

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(sorted({find_language(code).aya_code for code in codes}))
        except UnknownLanguage as error:
            raise ValueError(str(error)) from error


def selection_step(config: SelectionConfig, source: Source) -> Step:
    """The step whose artifact holds `rows.parquet` (AyaRow) and `quarantine.parquet`."""
    return Step("select", VERSION, config, {"source": source}, build_selection, label="select")


def build_selection(build: Build[SelectionConfig]) -> RowCounts:
    """Write the chosen rows, sorted by id, and the quarantined ones.

    Raises:
        ConfigError: the source is of no known kind, or holds no row of the languages asked for.
        ContractViolation: columns are missing, or more rows are unfit than the limit allows.
        ArtifactMismatch: the source is damaged.
    """
    config, source = build.config, build.inputs["source"]
    read = read_source(source)
    checked = check_rows(read)
    counts = write_quarantine(build.folder, checked.quarantined)
    try:
        check_quarantine_limit("select", read.height, counts, build.execution.quarantine_limit)
    except ContractViolation as violation:
        raise ContractViolation(
            f"{violation}. Source: {source.name}. First of each rule:\n{_examples(checked)}"
        ) from None
    chosen = choose_rows(_of_languages(checked.good, config.languages), config.rows, config.seed)
    if chosen.is_empty():
        raise ConfigError(
            f"{source.name}: none of {read.height} rows was chosen; sound rows: {checked.good.height}, languages asked "
            f"for: {', '.join(config.languages) or 'all'}. Check `data.languages` against the column language_code"
        )
    if chosen.height < config.rows:
        logger.info(
            "select: %s holds %d of the %d rows asked for; all are taken", source.name, chosen.height, config.rows
        )
    write_parquet(_completed(chosen), build.folder / ROWS, AyaRow)
    build.progress(chosen.height, chosen.height, "rows")
    return RowCounts(
        read=read.height,
        kept=chosen.height,
        quarantined=counts,
        not_selected=checked.good.height - chosen.height,
    )


def choose_rows(rows: pl.DataFrame, number: int, seed: int) -> pl.DataFrame:
    """The `number` rows with the lowest sha256 of seed and `row_id`, sorted by `row_id`."""
    places = [hashlib.sha256(f"{seed}:{row_id}".encode()).hexdigest() for row_id in rows["row_id"]]
    drawn = rows.with_columns(pl.Series("place", places, pl.String)).sort("place").head(number)
    return drawn.drop("place").sort("row_id")


def _of_languages(rows: pl.DataFrame, languages: tuple[str, ...]) -> pl.DataFrame:
    if not languages:
        return rows
    codes = [code for code in rows["language_code"].unique() if find_language(code).aya_code in languages]
    return rows.filter(pl.col("language_code").is_in(codes))


def _completed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns that a source may lack: the language's name from the table, the rest unknown."""
    names = [
        name or find_language(code, text=inputs).name
        for name, code, inputs in rows.select("language", "language_code", "inputs").iter_rows()
    ]
    return rows.with_columns(
        pl.Series("language", names, pl.String),
        pl.col("annotation_type").fill_null("unknown"),
        pl.col("user_id").fill_null("unknown"),
    )


def _examples(checked: CheckedRows) -> str:
    first = [part.sort("row_id").row(0, named=True) for part in checked.quarantined if part.height]
    return "\n".join(f"  {row['rule']} ({row['detail']}): {row['row_json'][:_EXAMPLE_CHARACTERS]}" for row in first)
