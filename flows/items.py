"""What `cc-tuning items --show` prints: items of a recipe, letter for letter as they become a model's prompts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cc_tuning.evaluation.config import EvaluationConfig
from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.evaluation.sources.records import SourceRecord, read_source_records
from cc_tuning.pipeline.plan import Plan
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactRef, ArtifactStore
from flows.terminal import console


def steps_of_items(plan: Plan, store: ArtifactStore) -> tuple[tuple[Step, ...], Path]:
    """The steps that make the recipe's items, none where they are the user's own, and the folder they will be in."""
    source = plan.report.inputs["items"]
    if isinstance(source, ArtifactRef):
        return plan.up_to(source.stage), store.path(source)
    assert isinstance(source, LocalSource), source
    return (), source.path


def show_items(folder: Path, config: EvaluationConfig, show: int) -> None:
    """Print the first `show` items of each benchmark and language that the recipe evaluates.

    The chat template of a model, which stands around each prompt, is not printed: it is the model's own.
    """
    loaded = load_items(folder)
    items = select_items(loaded.items, config.benchmarks, config.languages, config.items_per_language)
    sources = read_source_records(folder)
    for (benchmark,), of_benchmark in items.group_by("benchmark", maintain_order=True):
        _print(f"\n{'=' * 100}\n{benchmark}{_licence(sources.get(str(benchmark)))}")
        for (language,), group in of_benchmark.group_by("language", maintain_order=True):
            _print(f"\n{'-' * 100}\n{benchmark}, {language}: {group.height:,} items")
            for row in group.head(show).iter_rows(named=True):
                _show_item(row)
    if loaded.quarantined.height:
        _print(f"\n{loaded.quarantined.height} rows cannot be scored: {_counts(loaded.quarantined)}")


def _show_item(row: Mapping[str, Any]) -> None:
    about = [f"{name} {row[name]}" for name in ("group", "cluster") if row[name] is not None]
    _print(f"\n[{row['item_id']}]{'  ' if about else ''}{', '.join(about)}")
    _print(row["prompt"])
    if row["prompt_en"] is not None and row["prompt_en"] != row["prompt"]:
        _print(f"\n[English]\n{row['prompt_en']}")
    _print(f"\n[gold] {json.dumps(row['answers'], ensure_ascii=False)}")


def _licence(source: SourceRecord | None) -> str:
    if source is None:
        return ""
    terms = " (non-commercial)" if source.is_non_commercial else ""
    return f": {source.licence}{terms}; {source.citation}"


def _counts(quarantined: pl.DataFrame) -> str:
    rows = quarantined.group_by("rule").len().sort("rule").iter_rows()
    return ", ".join(f"{rule} {count}" for rule, count in rows)


def _print(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
