"""Test items: read under their contract, chosen by rule, counted."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.authors_items import has_authors_layout, read_authors_items
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.scorers import normalised
from cc_tuning.text.languages import UnknownLanguage, by_iso639_1, find_language
from data_contracts.errors import ContractViolation
from data_contracts.parquet import read_verified
from data_contracts.quarantine import QUARANTINE, quarantine_rows, split_by_contract
from data_contracts.schemas import BenchmarkItem

logger = logging.getLogger(__name__)

ITEM_KEY = ("benchmark", "language", "item_id")
_OPTIONAL = ("choices", "group", "cluster")
_LISTS = ("answers", "choices")


@dataclass(frozen=True)
class LoadedItems:
    """The items of a directory that can be scored, the others, and how many rows there were."""

    items: pl.DataFrame
    """BenchmarkItem rows, sorted by benchmark, language and id."""
    quarantined: pl.DataFrame
    """In the form of `QuarantinedRow`."""
    read: int


def load_items(*directories: Path) -> LoadedItems:
    """All items in the directories: of their parquet files, or in the layout of the authors' release (`authors_items`).

    The columns `choices`, `group` and `cluster` may be absent.

    Set aside are rows that break BenchmarkItem, whose prompt is blank, whose `choices_kind` is not their
    benchmark's, whose answers no response can meet (not an option, blank), or that have texts of other than all
    options.

    Raises:
        ConfigError: a directory holds neither.
        ContractViolation: a file lacks columns, or prompts and answers of the authors' layout do not belong together.
        ArtifactMismatch: a file is damaged.
    """
    frames = (found for directory in directories for found in _frames(directory))
    rows = pl.concat(_as_text(frame, where) for frame, where in frames)
    split = split_by_contract(rows, BenchmarkItem, "item_id")
    quarantined = [split.quarantined]
    items = split.good
    for rule, breaks_it in _RULES.items():
        broken = [row for row in items.iter_rows(named=True) if breaks_it(row)]
        if broken:
            frame = pl.DataFrame(broken, schema=items.schema)
            quarantined.append(quarantine_rows(frame, "item_id", rule))
            items = items.join(frame.select(ITEM_KEY), on=ITEM_KEY, how="anti")
    return LoadedItems(items.sort(*ITEM_KEY), pl.concat(quarantined), rows.height)


def select_items(
    items: pl.DataFrame, benchmarks: tuple[str, ...], languages: tuple[str, ...], items_per_language: int
) -> pl.DataFrame:
    """The first `items_per_language` ids of each benchmark and language asked for; no languages means all.

    Ids are taken in their order, so a parallel benchmark gives the same items in every language. A benchmark without
    an item is named in the log: the recipe's default has six, and a folder may have fewer.

    Raises:
        ConfigError: nothing is left, or no item of these benchmarks is in one of the languages.
    """
    of_benchmarks = items.filter(pl.col("benchmark").cast(pl.String).is_in(list(benchmarks)))
    chosen = of_benchmarks.filter(pl.col("language").is_in(list(languages))) if languages else of_benchmarks
    if not chosen.height:
        raise ConfigError(
            f"no item to evaluate: asked for {', '.join(benchmarks)} in {', '.join(languages) or 'all languages'}; the "
            f"items have {_inventory(items)}"
        )
    if nowhere := [code for code in languages if code not in chosen["language"]]:
        raise ConfigError(
            f"`evaluation.languages` has {', '.join(nowhere)}, in which there is no item of {', '.join(benchmarks)}; "
            f"the items have {_inventory(of_benchmarks)}. Leave the language out, or give items in it"
        )
    if absent := [name for name in benchmarks if name not in chosen["benchmark"].cast(pl.String)]:
        logger.warning("no items of %s in what was asked for; the items have %s", ", ".join(absent), _inventory(items))
    place = pl.int_range(pl.len()).over("benchmark", "language", order_by="item_id")
    return chosen.filter(place < items_per_language).sort(*ITEM_KEY)


def flores_code_of(language: str) -> str:
    """The FLORES code of an item's language; empty for one that the table of languages does not know."""
    try:
        return (by_iso639_1 if len(language) == 2 else find_language)(language).flores_code
    except UnknownLanguage:
        return ""


def item_files(directory: Path) -> list[Path]:
    """The benchmark files in `directory`, sorted; hidden ones and what the stage `items` set aside are none."""
    return sorted(
        path for path in directory.glob("*.parquet") if path.name != QUARANTINE and not path.name.startswith(".")
    )


def _frames(directory: Path) -> Iterator[tuple[pl.DataFrame, str]]:
    """The rows of a directory, and where they are from."""
    if files := item_files(directory):
        for path in files:
            yield read_verified(path), str(path)
    elif has_authors_layout(directory):
        for frame in read_authors_items(directory):
            yield frame, str(directory)
    else:
        raise ConfigError(
            f"{directory} holds no parquet file, nor BENCHMARK/split*/LANGUAGE.json; `evaluation.items` is a directory "
            "of benchmark files, in the layout of the authors' release or as parquet, or `hub`"
        )


def _as_text(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    columns = BenchmarkItem.column_names()
    frame = frame.with_columns(pl.lit(None).alias(name) for name in _OPTIONAL if name not in frame.columns)
    if missing := [name for name in columns if name not in frame.columns]:
        raise ContractViolation(f"{where}: a benchmark file needs the columns {missing}; got {frame.columns}")
    if other := [name for name in columns if not _can_be_read(name, frame.schema[name])]:
        found = ", ".join(f"{name} is {frame.schema[name]}" for name in other)
        raise ContractViolation(
            f"{where}: {found}; expected lists of texts in {' and '.join(_LISTS)}, and a text in every other column"
        )
    plain = {name: pl.List(pl.String) if name in _LISTS else pl.String for name in columns}
    texts = frame.select(pl.col(name).cast(dtype, strict=False) for name, dtype in plain.items())
    # As in rows: a blank English prompt is none, and neither is the `nan` of a table of numbers.
    is_none = pl.col("prompt_en").str.contains(r"^(?:[\s\p{Z}\p{Cc}\p{Cf}]*|nan|NaN)$")
    return texts.with_columns(pl.when(~is_none).then("prompt_en").alias("prompt_en"))


def _can_be_read(name: str, dtype: pl.DataType) -> bool:
    """Whether a column's values are what it needs: texts, or what has one form as text."""
    if name in _LISTS:
        return dtype == pl.Null or (isinstance(dtype, pl.List | pl.Array) and not dtype.inner.is_nested())
    return not dtype.is_nested()


def _is_of_another_kind(row: dict[str, Any]) -> bool:
    return bool(row["choices_kind"] != BENCHMARKS[row["benchmark"]].choices_kind)


def _cannot_be_met(row: dict[str, Any]) -> bool:
    options, answers = BENCHMARKS[row["benchmark"]].options, row["answers"]
    return answers[0].strip() not in options if options else not any(map(normalised, answers))


def _has_other_choices(row: dict[str, Any]) -> bool:
    """Texts of options can be told apart only where each option has one."""
    options = BENCHMARKS[row["benchmark"]].options
    return bool(options) and row["choices"] is not None and len(row["choices"]) != len(options)


_RULES: Mapping[str, Callable[[dict[str, Any]], bool]] = {
    "prompt_is_blank": lambda row: not normalised(row["prompt"]),
    "choices_kind_of_another_benchmark": _is_of_another_kind,
    "answers_cannot_be_met": _cannot_be_met,
    "choices_are_not_one_for_each_option": _has_other_choices,
}


def _inventory(items: pl.DataFrame) -> str:
    by_benchmark = items.group_by("benchmark").agg(pl.col("language").unique().sort()).sort("benchmark")
    return "; ".join(f"{name}: {' '.join(languages)}" for name, languages in by_benchmark.iter_rows()) or "no sound row"
