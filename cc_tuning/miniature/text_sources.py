"""Text that the tiny models are made for, beside the world's own: a recipe's real rows and benchmark prompts.

Prompts only: a benchmark's answers are never read here, so neither a tokenizer nor a model can have seen them.
"""

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.authors_items import has_authors_layout, read_authors_items
from cc_tuning.evaluation.items import item_files
from cc_tuning.runtime.sources import Location
from cc_tuning.selection.sources import PROBLEM, read_source
from data_contracts.parquet import read_verified

_ROW_TEXTS = ("inputs", "targets", "inputs_en", "targets_en")


def sound_rows(rows: Location) -> pl.DataFrame:
    """The readable rows of a file in Aya's schema that have inputs and targets."""
    return read_source(rows).filter(
        pl.col(PROBLEM).is_null(), pl.col("inputs").str.len_bytes() > 0, pl.col("targets").str.len_bytes() > 0
    )


def texts_of_rows(rows: pl.DataFrame) -> list[str]:
    """Every instruction, answer and English version in `rows`, each once, in order."""
    texts = pl.concat([rows[column].drop_nulls() for column in _ROW_TEXTS])
    return texts.unique(maintain_order=True).to_list()


def prompts_of_items(items: Location) -> list[str]:
    """Every prompt and English prompt of the benchmarks in a directory, each once, in order.

    Raises:
        ConfigError: the directory has no parquet file, or a file has no column `prompt`.
        ArtifactMismatch: a file is damaged.
    """
    files = item_files(items.path)
    if not files and not has_authors_layout(items.path):
        raise ConfigError(f"{items.path} has no parquet file; set `evaluation.items` to a directory of benchmark files")
    frames = ((file, read_verified(file)) for file in files)
    columns = []
    for file, frame in frames if files else ((items.path, frame) for frame in read_authors_items(items.path)):
        if "prompt" not in frame.columns:
            raise ConfigError(f"{file} has no column `prompt`, only {frame.columns}; it is not a benchmark file")
        prompts = [name for name in ("prompt", "prompt_en") if name in frame.columns]
        columns += [frame[name].cast(pl.String).drop_nulls() for name in prompts]
    return pl.concat(columns).unique(maintain_order=True).to_list()
