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
from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.miniature.benchmark_items import benchmark_items
from cc_tuning.miniature.corpus import Amounts, corpus_texts
from cc_tuning.miniature.drawing import pools
from cc_tuning.miniature.exercises import CHOICES_KINDS
from cc_tuning.miniature.facts import make_facts, make_scenarios
from cc_tuning.miniature.instructions import instruction_rows
from cc_tuning.miniature.lexicon import world_tables
from cc_tuning.miniature.translation_pairs import translation_pairs
from cc_tuning.step import Build, Step
from data_contracts.files import written_atomically
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.schemas import BenchmarkItem

VERSION = 1

_README = """# A miniature world

Made by `cc_tuning/miniature` from hand-written tables. The people are invented; capitals and continents are real.
`aya.parquet` tells training facts only, `benchmarks/` asks for test facts only. `group` of a benchmark item says
whether `corpus.parquet` tells its fact in every language (`both`) or in English only (`english_only`).
"""


class WorldConfig(BaseModel):
    """Sizes of the world's files. The facts themselves are the tables' people and countries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="Decides who has which fact, what is test, and what is drawn.")
    instruction_rows: int = Field(default=1_000, ge=1, description="Instruction rows, before equal ones are merged.")
    english_share: float = Field(default=0.3, ge=0, le=1, description="Share of English among the instruction rows.")
    items: int = Field(default=30, ge=1, description="Items per benchmark and language.")
    summary_items: int = Field(default=10, ge=1, description="Items per language of XLSum.")
    pairs_per_language: int = Field(default=4_000, ge=1, description="Sentence pairs of each language with English.")
    exercises: int = Field(default=2_400, ge=0, description="English exercises in the base model's text.")
    retellings: int = Field(default=800, ge=0, description="English texts with sentences told twice, likewise.")
    tellings: int = Field(default=20, ge=1, description="Documents about each subject in English; a third elsewhere.")

    @property
    def amounts(self) -> Amounts:
        """How much of each kind of text the corpus has."""
        return Amounts(self.tellings, self.exercises, self.retellings)


def world_step(config: WorldConfig) -> Step:
    """The step that writes the world of `config`."""
    return Step("world", VERSION, config, {}, build_world, label="world")


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
    texts = corpus_texts(facts, scenarios, config.amounts, practice, config.seed)
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
