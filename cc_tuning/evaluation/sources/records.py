"""What stands in `sources.json` beside the items: where they are from, their licence, and what became of each row.

The stage `items` writes it, the report and the command line read it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json
from data_contracts.layout import ITEM_SOURCES


class LanguageRecord(BaseModel):
    """The file of one language, and its rows: rows = items + left out + set aside + those that were not drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    host: Literal["hub", "github"]
    revision: str
    file: str
    sha256: str = Field(description="Of the file that was read.")
    rows: int = Field(ge=0)
    items: int = Field(ge=0)
    left_out: Mapping[str, int] = Field(description="Sound rows that the benchmark does not ask about here, by reason.")
    set_aside: Mapping[str, int] = Field(description="Rows in quarantine, by rule.")
    mended: Mapping[str, int] = Field(description="Rows that were mended, by rule.")
    repeated_prompts: int = Field(ge=0, description="Kept items whose prompt another item has too.")


class SourceRecord(BaseModel):
    """One benchmark's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str
    is_non_commercial: bool
    licence_note: str
    citation: str
    url: str
    is_parallel: bool
    sample: Literal["seeded", "first", "whole"]
    sample_seed: int
    items_per_language: int | None = Field(description="At most; null: all.")
    languages: Mapping[str, LanguageRecord]

    @property
    def items(self) -> int:
        """Items of all languages."""
        return sum(language.items for language in self.languages.values())

    @property
    def repositories(self) -> tuple[str, ...]:
        """Each `owner/name` with its commit, once."""
        places = (f"{record.repository} {record.revision}" for record in self.languages.values())
        return tuple(dict.fromkeys(places))


def write_source_records(folder: Path, records: Mapping[str, SourceRecord]) -> None:
    """Write them, by benchmark."""
    write_json(folder / ITEM_SOURCES, {name: record.model_dump(mode="json") for name, record in records.items()})


def read_source_records(folder: Path) -> dict[str, SourceRecord]:
    """Those of a folder of items, by benchmark; none where the items were not made of published data sets.

    Raises:
        ArtifactMismatch: the file is not what the stage `items` writes.
    """
    path = folder / ITEM_SOURCES
    if not path.is_file():
        return {}
    try:
        return {name: SourceRecord.model_validate(record) for name, record in read_json(path).items()}
    except (ValidationError, AttributeError) as error:
        raise ArtifactMismatch(f"{path} is not a record of sources this version reads: {error}") from error
