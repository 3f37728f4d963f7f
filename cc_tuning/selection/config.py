"""The settings that decide which rows of a source are learnt from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cc_tuning.selection.columns import SourceColumns
from cc_tuning.text.languages import UnknownLanguage, find_language

Decontamination = Literal["none", "exact", "ngram"]


class SelectionConfig(BaseModel):
    """How many rows to learn from, of which languages, and what must not be among them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(
        default=20236, ge=1, description="Rows to choose (paper: 20,236, appendix A.1); fewer if the source has fewer."
    )
    languages: tuple[str, ...] = Field(
        default=(), description="Codes such as `spa` or `swh`; none means every language."
    )
    temperature: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="A language's share of the chosen rows is proportional to its sound rows to this power: 1 draws "
        "from all rows alike, 0 gives each language as many.",
    )
    max_rows_per_language: int | None = Field(
        default=None,
        ge=1,
        description="At most this many rows of one language, the others take the rest; none: no cap.",
    )
    min_characters: int = Field(default=1, ge=1, description="Characters that prompt and response each have at least.")
    max_characters: int | None = Field(
        default=None, ge=1, description="Characters that prompt and response each have at most; none: no limit."
    )
    annotation_types: tuple[str, ...] = Field(
        default=(), description="Values of the column `annotation_type` to choose from; none means every type."
    )
    decontamination: Decontamination = Field(
        default="ngram",
        description="Which rows that repeat an evaluation item are set aside: none; `exact`, those with an item's "
        "prompt or long answer as prompt or response; `ngram`, also those that share a run of words with one.",
    )
    decontamination_ngram: int = Field(
        default=13, ge=1, description="Words in a run; in scripts without blanks, characters (Brown et al. 2020: 13)."
    )
    columns: SourceColumns = Field(default_factory=SourceColumns)
    seed: int = Field(default=0, ge=0, description="Another seed chooses other rows.")

    @field_validator("languages")
    @classmethod
    def _languages_are_known(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(sorted({find_language(code).aya_code for code in codes}))
        except UnknownLanguage as error:
            raise ValueError(str(error)) from error

    @field_validator("annotation_types")
    @classmethod
    def _order_of_types_means_nothing(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(types)))

    @model_validator(mode="after")
    def _lengths_leave_something(self) -> "SelectionConfig":
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise ValueError(
                f"max_characters is {self.max_characters}, less than min_characters, {self.min_characters}: "
                "no row has such a length"
            )
        return self
