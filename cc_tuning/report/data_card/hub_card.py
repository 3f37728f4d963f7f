"""The card of a data set as the Hugging Face hub and `datasets` read it: YAML in front of the data card's Markdown.

The front matter names the files of each configuration, the columns with their types, sizes, languages and licences;
`load_dataset` takes files and types from it, so nothing is guessed from file names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from cc_tuning.document.blocks import Document
from cc_tuning.document.markdown import render_markdown

UNKNOWN_LICENCE = "unknown"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGEST_SIZE = "10M<n<100M"


@dataclass(frozen=True)
class HubConfiguration:
    """One table of a data set."""

    name: str
    files: str
    """A pattern, relative to the data set's folder."""
    schema: pa.Schema
    rows: int
    table_bytes: int
    """In memory, as Arrow counts them."""
    file_bytes: int


def hub_card(
    document: Document, configurations: Sequence[HubConfiguration], languages: Iterable[str], licences: Iterable[str]
) -> str:
    """The text of `README.md`; the first of `configurations` is the default one."""
    first, *_ = configurations
    front = {
        "pretty_name": document.title.removeprefix("Data card: "),
        "language": sorted(set(languages)),
        "license": sorted(set(licences)) or [UNKNOWN_LICENCE],
        "multilinguality": ["multilingual", "translation"],
        "size_categories": [_size_category(first.rows)],
        "task_categories": ["text-generation", "translation"],
        "tags": ["cross-lingual", "instruction-tuning", "parallel"],
        "configs": [_files(configuration, configuration is first) for configuration in configurations],
        "dataset_info": [_information(configuration) for configuration in configurations],
    }
    written = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1_000)
    return f"---\n{written}---\n\n{render_markdown(document)}"


def _size_category(rows: int) -> str:
    return next((name for end, name in _SIZES if rows < end), _LARGEST_SIZE)


def _files(configuration: HubConfiguration, is_default: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "config_name": configuration.name,
        "data_files": [{"split": "train", "path": configuration.files}],
    }
    return entry | ({"default": True} if is_default else {})


def _information(configuration: HubConfiguration) -> dict[str, Any]:
    split = {"name": "train", "num_bytes": configuration.table_bytes, "num_examples": configuration.rows}
    return {
        "config_name": configuration.name,
        "features": [_feature(field) for field in configuration.schema],
        "splits": [split],
        "download_size": configuration.file_bytes,
        "dataset_size": configuration.table_bytes,
    }


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column as the hub writes it: `{name: flags, list: string}`, `{name: quality, dtype: float64}`."""
    if not pa.types.is_list(field.type):
        return {"name": field.name, "dtype": str(field.type).replace("double", "float64")}
    inner = field.type.value_type
    parts = [_feature(part) for part in inner] if pa.types.is_struct(inner) else str(inner)
    return {"name": field.name, "list": parts}
