"""Small files in the layout of the hub's repositories: names, columns and types as they are published, rows by hand.

The number of rows that the table of sources declares is replaced by that of the rows here (`small_source`), so that the
check of it is the one that a real file meets.
"""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cc_tuning.evaluation.sources import SOURCES
from cc_tuning.evaluation.sources.config import ItemsConfig, items_config
from cc_tuning.evaluation.sources.fetching import fetch_files
from cc_tuning.evaluation.sources.making import MadeItems, make_items
from cc_tuning.evaluation.sources.source import ItemSource, RemoteFile

Rows = Sequence[Mapping[str, Any]]

_TEXT = pa.string()
_OPTIONS = ("option_a", "option_b", "option_c", "option_d")
_SCHEMAS = {
    "XNLI": {"premise": _TEXT, "hypothesis": _TEXT, "label": pa.int64()},
    "MMMLU": {"question": _TEXT, "subject": _TEXT, "choices": pa.list_(_TEXT), "answer": pa.int64()},
    "XQuAD": {
        "id": _TEXT,
        "context": _TEXT,
        "question": _TEXT,
        "answers": pa.struct({"text": pa.list_(_TEXT), "answer_start": pa.list_(pa.int32())}),
    },
    "XLSum": dict.fromkeys(("id", "url", "title", "summary", "text"), _TEXT),
    "GlobalMMLU": {
        **dict.fromkeys(("sample_id", "subject", "subject_category", "question", *_OPTIONS, "answer"), _TEXT),
        **dict.fromkeys(("required_knowledge", "culture", "cultural_sensitivity_label"), _TEXT),
        "is_annotated": pa.bool_(),
    },
    "INCLUDE": {
        **dict.fromkeys(("language", "country", "domain", "subject", "regional_feature", "level", "question"), _TEXT),
        **dict.fromkeys(_OPTIONS, _TEXT),
        "answer": pa.int64(),
    },
    "MGSM": {"question": _TEXT, "answer": _TEXT, "answer_number": pa.int32(), "equation_solution": _TEXT},
}
_MMMLU_COLUMNS = ("", "Question", "A", "B", "C", "D", "Answer", "Subject")


def write_published(folder: Path, benchmark: str, rows: Mapping[str, Rows]) -> None:
    """Write the rows of each language where `execution.hub_files` expects its file."""
    for language, of_language in rows.items():
        file = SOURCES[benchmark].files[language]
        path = folder / file.place
        path.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[file.format](path, benchmark, of_language)


def small_source(benchmark: str, rows: int) -> ItemSource:
    """The benchmark's source, whose files have this many rows and any bytes."""
    source = SOURCES[benchmark]
    small: dict[RemoteFile, RemoteFile] = {
        file: replace(file, rows=rows, sha256="") for file in dict.fromkeys(source.files.values())
    }
    return replace(source, files={language: small[file] for language, file in source.files.items()})


def choice(benchmark: str, languages: Sequence[str], **changes: Any) -> ItemsConfig:
    """What a recipe asks for that names one benchmark and languages."""
    sampling = {"sample": "first", "sample_seed": 0} | {k: v for k, v in changes.items() if k.startswith("sample")}
    return items_config((benchmark,), languages, changes.get("items_per_language", 1511), sampling)


def made(folder: Path, benchmark: str, rows: Mapping[str, Rows], source: ItemSource | None = None) -> MadeItems:
    """Items made of files with these rows, in all of these languages."""
    write_published(folder, benchmark, rows)
    source = source or small_source(benchmark, len(next(iter(rows.values()))))
    config = choice(benchmark, tuple(rows))
    return make_items(source, config, fetch_files(source.files_of(tuple(rows)).values(), folder))


def _write_parquet(path: Path, benchmark: str, rows: Rows) -> None:
    schema = pa.schema(_SCHEMAS[benchmark])
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)


def _write_csv(path: Path, benchmark: str, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _MMMLU_COLUMNS)
        writer.writeheader()
        writer.writerows({"": number, **row} for number, row in enumerate(rows))


def _write_tsv(path: Path, benchmark: str, rows: Rows) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def _write_json_lines(path: Path, benchmark: str, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write_zipped_json_lines(path: Path, benchmark: str, rows: Rows) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


_WRITERS = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "tsv": _write_tsv,
    "jsonl": _write_json_lines,
    "jsonl.gz": _write_zipped_json_lines,
}
