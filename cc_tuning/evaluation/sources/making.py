"""From the files of a source to BenchmarkItem rows: judged, laid beside the English, drawn, and given their prompts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.prompts import render
from cc_tuning.evaluation.sources.config import ItemsConfig
from cc_tuning.evaluation.sources.judging import (
    JudgedRows,
    align_with_english,
    judge_repeated_prompts,
    judge_rows,
)
from cc_tuning.evaluation.sources.reading import check_bytes, read_rows
from cc_tuning.evaluation.sources.records import LanguageRecord, SourceRecord
from cc_tuning.evaluation.sources.source import ENGLISH, ItemSource, RemoteFile, SourceItem
from cc_tuning.text.draws import draw_order
from data_contracts.quarantine import quarantine_judged
from data_contracts.schemas import BenchmarkItem

_QUARANTINE = dict.fromkeys(("row_id", "benchmark", "language", "row", "rule", "detail"), pl.String)


@dataclass(frozen=True)
class MadeItems:
    """The items of one benchmark, and what became of every row."""

    items: pl.DataFrame
    """BenchmarkItem rows."""
    quarantined: pl.DataFrame
    """In the form of `QuarantinedRow`."""
    record: SourceRecord
    """For `sources.json`."""
    read: int
    """Rows of the languages asked for."""


def make_items(source: ItemSource, config: ItemsConfig, paths: Mapping[RemoteFile, Path]) -> MadeItems:
    """The items of a benchmark in the languages that `config` has for it.

    Args:
        source: the benchmark's.
        config: languages, number and draw of the items.
        paths: where the files of these languages (and of English) are.

    Raises:
        ArtifactMismatch: a file's rows or sha256 differ from what is known of it, or it is damaged.
        ContractViolation: a file is not of the shape that the source says, or its answers are not the English ones.
    """
    languages = config.languages[source.benchmark]
    files = source.files_of(languages)
    digests = {file: check_bytes(file, paths[file]) for file in dict.fromkeys(files.values())}
    judged = {code: judge_rows(source, code, read_rows(file, paths[file])) for code, file in files.items()}
    english = judged[ENGLISH].items if source.is_parallel else []
    for code, rows in judged.items():
        if source.is_parallel and code != ENGLISH:
            align_with_english(source, rows, english)
        judge_repeated_prompts(source, rows)
    most = config.items_of(source.benchmark)
    drawn = _drawn(source.benchmark, judged[ENGLISH].items, config, most) if source.is_parallel else None
    frames, records = [], {}
    for code in languages:
        ids = _drawn(source.benchmark, judged[code].items, config, most) if drawn is None else drawn
        kept = [item for item in judged[code].items if item.item_id in ids]
        frames.append(_frame(source, code, kept, {item.item_id: item for item in english}))
        records[code] = _record(judged[code], files[code], digests[files[code]], len(kept))
    asked = [judged[code] for code in languages]
    return MadeItems(
        items=pl.concat(frames).sort(*BenchmarkItem.primary_key()),
        quarantined=pl.concat([_quarantined(source, rows) for rows in asked]),
        record=_describe(source, config, most, records),
        read=sum(rows.rows for rows in asked),
    )


def _drawn(benchmark: str, items: Sequence[SourceItem], config: ItemsConfig, most: int | None) -> set[str]:
    """Ids of the items taken. A parallel benchmark draws among the English ones, so languages do not matter."""
    if config.sample == "seeded":
        items = sorted(items, key=lambda item: draw_order(config.sample_seed, benchmark, item.item_id))
    return {item.item_id for item in items[:most]}


def _frame(
    source: ItemSource, language: str, items: Sequence[SourceItem], english: Mapping[str, SourceItem]
) -> pl.DataFrame:
    rows = []
    for item in items:
        original = english.get(item.item_id)
        # What items share is named by the English item, so that it has one name in every language.
        named = original or item
        rows.append(
            {
                "benchmark": source.benchmark,
                "language": language,
                "item_id": item.item_id,
                "prompt": render(source.benchmark, language, item.fields),
                "prompt_en": render(source.benchmark, ENGLISH, original.fields) if original else None,
                "answers": list(item.answers),
                "choices_kind": BENCHMARKS[source.benchmark].choices_kind,
                "choices": None if item.choices is None else list(item.choices),
                "group": named.group,
                "cluster": named.cluster,
            }
        )
    return BenchmarkItem.validate(pl.DataFrame(rows, schema=BenchmarkItem.create_empty().schema), cast=True)


def _quarantined(source: ItemSource, judged: JudgedRows) -> pl.DataFrame:
    rows = [
        {
            "row_id": f"{source.benchmark}/{judged.language}/{name}",
            "benchmark": source.benchmark,
            "language": judged.language,
            "row": json.dumps(row, ensure_ascii=False, default=str),
            "rule": fault.rule,
            "detail": fault.detail,
        }
        for name, fault, row in judged.faults
    ]
    return quarantine_judged(pl.DataFrame(rows, schema=_QUARANTINE), "row_id")


def _record(judged: JudgedRows, file: RemoteFile, sha256: str, kept: int) -> LanguageRecord:
    aside = Counter(fault.rule for _, fault, _ in judged.faults)
    return LanguageRecord(
        repository=file.repository,
        host=file.host,
        revision=file.revision,
        file=file.path,
        sha256=sha256,
        rows=judged.rows,
        items=kept,
        left_out=judged.left_out,
        set_aside=aside,
        mended=judged.mended,
        repeated_prompts=judged.repeated_prompts,
    )


def _describe(
    source: ItemSource, config: ItemsConfig, most: int | None, languages: Mapping[str, LanguageRecord]
) -> SourceRecord:
    return SourceRecord(
        licence=source.licence,
        is_non_commercial=source.is_non_commercial,
        licence_note=source.licence_note,
        citation=source.citation,
        url=source.url,
        is_parallel=source.is_parallel,
        sample=config.sample,
        sample_seed=config.sample_seed,
        items_per_language=most,
        languages=languages,
    )
