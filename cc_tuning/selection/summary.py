"""The fates of a source's rows, language by language: `selection.json`, for data cards and reports."""

from collections.abc import Iterator

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cc_tuning.selection.sources import FURTHER_TURNS
from cc_tuning.text.languages import by_flores_code

UNDETERMINED = "und"
"""ISO 639-2 for a language that is not known; stands for the rows whose code is not in the table."""
NOT_DRAWN = "not_drawn"

_KEPT = "kept"


class RowFates(BaseModel):
    """The fates of some rows; the parts add up to the whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: int = Field(ge=0, description="Rows in the source.")
    quarantined: dict[str, int] = Field(description="Rows set aside, by the rule they broke.")
    sound: int = Field(ge=0, description="Rows that broke no rule.")
    not_selected: dict[str, int] = Field(description="Sound rows that were not chosen, by the first reason.")
    kept: int = Field(ge=0, description="Rows chosen.")
    near_duplicates: int = Field(
        ge=0, description="Sound rows whose prompt and response have the words of another sound row, in any language."
    )
    near_duplicates_kept: int = Field(ge=0, description="The same among the chosen rows.")
    further_turns: int = Field(
        default=0, ge=0, description="Turns after the first exchange of the conversations read; they are not used."
    )

    @model_validator(mode="after")
    def _add_up(self) -> "RowFates":
        if self.read != self.sound + sum(self.quarantined.values()):
            raise ValueError(f"read {self.read} is not sound {self.sound} + quarantined {self.quarantined}")
        if self.sound != self.kept + sum(self.not_selected.values()):
            raise ValueError(f"sound {self.sound} is not kept {self.kept} + not selected {self.not_selected}")
        return self


class LanguageFates(RowFates):
    """The fates of the rows of one language."""

    name: str = Field(description="The language's name in the table.")


class SelectionSummary(BaseModel):
    """The content of `selection.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    total: RowFates
    languages: dict[str, LanguageFates] = Field(
        description="By FLORES-200 code; `und` where the language is not known."
    )


def summarise(lines: pl.DataFrame, chosen: pl.DataFrame) -> SelectionSummary:
    """The summary of a source's row index, of which the lines `chosen` were chosen."""
    is_sound = pl.col("rule").is_null()
    is_kept = pl.col("position").is_in(chosen["position"].implode())
    left = pl.coalesce("rule", "reason", pl.lit(NOT_DRAWN))
    fated = lines.with_columns(
        pl.col("flores_code").fill_null(UNDETERMINED),
        fate=pl.when(is_sound & is_kept).then(pl.lit(_KEPT)).otherwise(left),
        is_twin=_is_twin(is_sound),
        is_kept_twin=_is_twin(is_sound & is_kept),
    )
    languages = {
        code: LanguageFates(name="" if code == UNDETERMINED else by_flores_code(code).name, **_fates(part))
        for code, part in _by_language(fated)
    }
    return SelectionSummary(total=RowFates(**_fates(fated)), languages=languages)


def _is_twin(among: pl.Expr) -> pl.Expr:
    """Whether another row of those `among` has the same words."""
    wording = pl.when(among).then("wording")
    return wording.is_not_null() & wording.is_duplicated()


def _by_language(fated: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for code in fated["flores_code"].unique().sort():
        yield code, fated.filter(pl.col("flores_code") == code)


def _fates(part: pl.DataFrame) -> dict[str, object]:
    sound = part.filter(pl.col("rule").is_null())
    not_selected = _counted(sound.filter(pl.col("fate") != _KEPT)["fate"])
    return {
        "read": part.height,
        "quarantined": _counted(part["rule"].drop_nulls()),
        "sound": sound.height,
        "not_selected": not_selected,
        "kept": sound.height - sum(not_selected.values()),
        "near_duplicates": part["is_twin"].sum(),
        "further_turns": part[FURTHER_TURNS].sum(),
        "near_duplicates_kept": part["is_kept_twin"].sum(),
    }


def _counted(values: pl.Series) -> dict[str, int]:
    counts = values.value_counts().sort(values.name)
    return dict(counts.iter_rows())
