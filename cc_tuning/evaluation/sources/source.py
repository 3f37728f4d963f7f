"""What a source of items is: values and small functions only, so that a recipe is planned without reading anything.

A benchmark's own file says where its rows lie, at which commit, how many they are, and how a row becomes an item. It
knows nothing of downloads (`fetching`), file formats (`reading`), or of what is done with the items (`making`).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ENGLISH = "en"
LETTERS = ("A", "B", "C", "D")
"""The gold answers of four options, in their order."""

Row = Mapping[str, Any]
Host = Literal["hub", "github"]
FileFormat = Literal["parquet", "csv", "tsv", "jsonl", "jsonl.gz"]


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a repository at one commit, and what is known about it."""

    repository: str
    """`owner/name`."""
    revision: str
    """The commit, 40 hex digits."""
    path: str
    """Within the repository."""
    format: FileFormat
    columns: tuple[str, ...]
    """Those that are read; others may be there."""
    rows: int | None = None
    """Rows that the file must have; None: nobody published the number, so what was read is only recorded."""
    sha256: str = ""
    """Of its bytes; empty: nobody published it, so that of the file that was read is only recorded."""
    host: Host = "hub"

    @property
    def place(self) -> str:
        """Where the file lies below a folder of files that were put there by hand."""
        return f"{self.repository}/{self.path}"

    def __str__(self) -> str:
        return f"{self.place} at {self.revision}"


@dataclass(frozen=True, kw_only=True)
class SourceItem:
    """One row of a source as an item, before its prompt is written."""

    item_id: str
    """Equal for the same item in every language, where the source is parallel."""
    number: int
    """Its row, from 0."""
    fields: Mapping[str, Any]
    """The texts of the prompt by name, as `evaluation/prompts` asks for them."""
    answers: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    group: str | None = None
    cluster: str | None = None
    mended: tuple[str, ...] = ()
    """Rules by which the row was mended."""


@dataclass(frozen=True)
class Fault:
    """A row that cannot become an item, with the rule it breaks; it goes to quarantine."""

    rule: str
    detail: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A sound row that the benchmark does not ask about here."""

    reason: str


@dataclass
class Alignment:
    """The items of one language after they were laid beside the English ones."""

    items: Sequence[SourceItem]
    faults: list[tuple[SourceItem, Fault]] = field(default_factory=list)
    mended: dict[str, int] = field(default_factory=dict)
    """Items that were mended, by rule."""


ItemReader = Callable[[Row, int, str], SourceItem | Fault | LeftOut]
"""From a row, its number and the language."""
Aligner = Callable[[str, Sequence[SourceItem], Mapping[str, SourceItem]], Alignment]
"""From the language, its items, and the English items by id. It mends what is known to be wrong between the two."""


def as_they_are(_language: str, items: Sequence[SourceItem], _english: Mapping[str, SourceItem]) -> Alignment:
    """An alignment of languages between which no fault is known."""
    return Alignment(items)


@dataclass(frozen=True, kw_only=True)
class ItemSource:
    """One benchmark's rows: where they are, how they become items, under which licence, and what to cite."""

    benchmark: str
    files: Mapping[str, RemoteFile]
    """By language (ISO 639-1); several languages may lie in one file."""
    read: ItemReader
    is_parallel: bool = True
    """Whether equal ids are the same item in every language, English among them."""
    has_equal_answers: bool = False
    """Whether the right answer is the same letter or number in every language, so that a difference is a fault."""
    align: Aligner = as_they_are
    licence: str
    is_non_commercial: bool = False
    licence_note: str = ""
    citation: str
    """Of the paper, in words."""
    url: str

    @property
    def languages(self) -> tuple[str, ...]:
        """All that the source has, sorted."""
        return tuple(sorted(self.files))

    def files_of(self, languages: Sequence[str]) -> dict[str, RemoteFile]:
        """The files that the items of `languages` are made from: a parallel source needs its English ones too."""
        needed = dict.fromkeys((*((ENGLISH,) if self.is_parallel else ()), *languages))
        return {language: self.files[language] for language in needed}


def files_by_language(
    names: Mapping[str, str], path: str, *, rows: int | Mapping[str, int] | None = None, **known: Any
) -> dict[str, RemoteFile]:
    """A file for each language, at `path` with the language's own name in the place of `{name}`.

    Args:
        names: what the repository calls each language.
        path: within the repository.
        rows: of every file, or of each language's.
        known: what all files have in common (`RemoteFile`).
    """
    return {
        language: RemoteFile(
            path=path.format(name=name), rows=rows.get(language) if isinstance(rows, Mapping) else rows, **known
        )
        for language, name in names.items()
    }


def name_of_text(text: str) -> str:
    """A short name for a text: the first 64 bits of its sha256, in 16 hex digits.

    It names what items share, and items whose own id is long. Among the 14,042 items of the longest source, two
    different texts have one name with a chance of 5e-12.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def same_names(languages: str) -> dict[str, str]:
    """Languages, written with blanks between them, that a repository calls by their ISO codes."""
    return {language: language for language in languages.split()}
