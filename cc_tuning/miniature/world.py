"""The `world` stage: everything that the embedded default has in place of downloads, as files.

- `aya.parquet`: instruction rows in Aya's schema.
- `benchmarks/*.parquet`: six miniature benchmarks; `development/*.parquet`: the same of development facts, to choose
  sizes and learning rates by.
- `corpus.parquet`: text for the base model. `sentences.parquet`: pairs for the translator.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from cc_tuning.miniature.benchmark_items import benchmark_items
from cc_tuning.miniature.config import WorldConfig
from cc_tuning.miniature.corpus import Amounts, corpus_texts
from cc_tuning.miniature.exercises import CHOICES_KINDS
from cc_tuning.miniature.facts import make_facts, make_scenarios
from cc_tuning.miniature.instructions import instruction_rows
from cc_tuning.miniature.lexicon import world_tables
from cc_tuning.miniature.random_draws import pools
from cc_tuning.miniature.translation_pairs import translation_pairs
from cc_tuning.runtime.step import Build
from data_contracts.files import written_atomically
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.schemas import BenchmarkItem

_README = """# A miniature world

Made by `cc_tuning/miniature` from hand-written tables. The people are invented; capitals and continents are real.
`aya.parquet` tells training facts only, `benchmarks/` asks for test facts only. `group` of a benchmark item says
whether `corpus.parquet` tells its fact in every language (`both`) or in English only (`english_only`).
"""


def build_world(build: Build[WorldConfig]) -> RowCounts:
    """Write all files of the world; equal configs give equal bytes."""
    config = build.config
    facts, scenarios = make_facts(config.seed), make_scenarios(config.seed)
    of_split = pools(facts, scenarios, config.seed)
    rows = instruction_rows(config.instruction_rows, config.english_share, of_split["train"], config.seed)
    _write(rows, build.folder / "aya.parquet")

    sizes = dict.fromkeys(CHOICES_KINDS, config.items) | {"XLSum": config.summary_items}
    written = rows.height
    for folder, pool in (("benchmarks", of_split["test"]), ("development", of_split["dev"])):
        for benchmark, items in benchmark_items(sizes, pool, config.seed).items():
            write_parquet(items, build.folder / folder / f"{benchmark.lower()}.parquet", BenchmarkItem)
            written += items.height

    # In English the base model practises all stories; which of them are asked in other languages is the instructions'.
    practice = replace(of_split["train"], scenarios=scenarios)
    amounts = Amounts(config.tellings, config.exercises, config.retellings)
    texts = corpus_texts(facts, scenarios, amounts, practice, config.seed)
    _write(texts, build.folder / "corpus.parquet")
    told = tuple(fact for world in of_split["train"].worlds for fact in world)
    language_only = replace(of_split["train"], facts=told, people=tuple(world_tables().people))
    pairs = translation_pairs(config.pairs_per_language, language_only, config.seed)
    _write(pairs, build.folder / "sentences.parquet")
    (build.folder / "README.md").write_text(_README, encoding="utf-8")
    written += texts.height + pairs.height
    build.progress(written, written, "rows")
    return RowCounts(read=written, kept=written)


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Columns as another tool would write them: these files stand for sources, which have no contract yet."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    with written_atomically(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
