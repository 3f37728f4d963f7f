"""Stage `items`: benchmark items made from the published data sets at their pinned commits.

Only the benchmarks and languages of the recipe are fetched; every file's rows, and its checksum where one is published,
are compared with what is known of it before an item is made. The same source items are taken in every language.

Files: one parquet per benchmark (BenchmarkItem), `sources.json` (licences, citations, commits, checksums of what was
read, and what became of every row, by language), `quarantine.parquet`.
"""

import logging
from collections import Counter

from cc_tuning.evaluation.sources import SOURCES
from cc_tuning.evaluation.sources.config import ItemsConfig
from cc_tuning.evaluation.sources.fetching import fetch_files
from cc_tuning.evaluation.sources.making import MadeItems, make_items
from cc_tuning.evaluation.sources.records import write_source_records
from cc_tuning.runtime.step import Build
from data_contracts.layout import items_file
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.quarantine import check_quarantine_limit, write_quarantine
from data_contracts.schemas import BenchmarkItem

logger = logging.getLogger(__name__)


def build_items(build: Build[ItemsConfig]) -> RowCounts:
    """Fetch, check and read the files, and write the items.

    Raises:
        ConfigError: files are neither here nor can they be fetched, or a repository is gated.
        ArtifactMismatch: a file's rows or sha256 differ from what is known of it.
        ContractViolation: a file is not of the expected shape, answers differ from the English ones, or more rows are
            unfit than the limit allows.
    """
    config = build.config
    sources = [SOURCES[name] for name in config.languages]
    needed = [file for source in sources for file in source.files_of(config.languages[source.benchmark]).values()]
    paths = fetch_files(needed, build.execution.hub_files)
    read = kept = 0
    records, quarantined = {}, []
    for done, source in enumerate(sources):
        made = make_items(source, config, paths)
        write_parquet(made.items, build.folder / items_file(source.benchmark), BenchmarkItem)
        _log(source.benchmark, made)
        records[source.benchmark] = made.record
        quarantined.append(made.quarantined)
        read, kept = read + made.read, kept + made.items.height
        build.progress(done + 1, len(sources), "benchmarks")
    write_source_records(build.folder, records)
    counts = write_quarantine(build.folder, quarantined)
    check_quarantine_limit("items", read, counts, build.execution.quarantine_limit)
    return RowCounts(read=read, kept=kept, quarantined=counts, not_selected=read - kept - sum(counts.values()))


def _log(benchmark: str, made: MadeItems) -> None:
    """One line per benchmark: what was handled by rule, over all languages."""
    totals: Counter[str] = Counter()
    for record in made.record.languages.values():
        rules = {"mended": record.mended, "set aside": record.set_aside, "left out": record.left_out}
        for kind, counts in rules.items():
            totals.update({f"{rule} ({kind})": count for rule, count in counts.items()})
        totals.update({"repeated prompts (kept)": record.repeated_prompts})
    by_rule = ", ".join(f"{rule} {count:,}" for rule, count in sorted(totals.items()) if count)
    logger.info(
        "items: %s, %d items in %d languages from %d rows%s",
        benchmark, made.items.height, len(made.record.languages), made.read, f"; {by_rule}" if by_rule else "",
    )  # fmt: skip
