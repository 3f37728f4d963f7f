"""The `world` stage: everything that the embedded default has in place of downloads, as files.

- `aya.parquet`: instruction rows in Aya's schema, about training people and countries.
- `benchmarks/*.parquet`: six miniature benchmarks; `development/*.parquet`: the same of development facts, to choose
  sizes and learning rates by.
- `corpus.parquet`: text for the base model. `sentences.parquet`: pairs for the translator.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from cc_tuning.miniature.config import WorldConfig
from cc_tuning.miniature.corpus import Amounts, corpus_texts
from cc_tuning.miniature.exercise_draws import Pool, draw, draw_all, pools
from cc_tuning.miniature.exercises import CHOICES_KINDS, Rendered
from cc_tuning.miniature.facts import Fact, make_facts, make_scenarios, make_strangers
from cc_tuning.miniature.lexicon import (
    ENGLISH,
    LANGUAGES,
    LanguageTables,
    every_language,
    language_tables,
    world_tables,
)
from cc_tuning.runtime.step import Build
from cc_tuning.text.languages import Language
from cc_tuning.translation.segmentation import Segmenter
from data_contracts.files import written_atomically
from data_contracts.layout import WORLD_CORPUS, WORLD_DEVELOPMENT_ITEMS, WORLD_ITEMS, WORLD_ROWS, WORLD_SENTENCES
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.schemas import BenchmarkItem

_README = """# A miniature world

Made by `cc_tuning/miniature` from hand-written tables. The people are invented; capitals and continents are real.
`aya.parquet` asks about training people only, `benchmarks/` about test people only. `group` of a benchmark item says
whether `corpus.parquet` tells what it asks in every language (`both`), in English only (`english_only`), or whether the
prompt alone tells it (`in_prompt`).
"""
# Shares of the six formats. Half are open questions, which ask for what the base model knows; the others cost several
# times their tokens.
_WEIGHTS = {"XNLI": 2, "XStoryCloze": 2, "MMMLU": 4, "MKQA": 11, "XQuAD": 2, "XLSum": 1}
# In Aya the column says whether a person wrote the row or edited another's; here it only has to be there.
_ANNOTATION_TYPES = ("original-annotations", "re-annotations")
# Characters; longer than any sentence of the world.
_LONGEST_SENTENCE = 1_000


def build_world(build: Build[WorldConfig]) -> RowCounts:
    """Write all files of the world; equal configs give equal bytes."""
    config = build.config
    facts, scenarios = make_facts(config.seed, config.people), make_scenarios(config.seed)
    of_split = pools(facts, make_strangers(config.seed, config.people), scenarios)
    rows = instruction_rows(config.instruction_rows, config.english_share, of_split["train"], config.seed)
    _write(rows, build.folder / WORLD_ROWS)

    sizes = dict.fromkeys(CHOICES_KINDS, config.items) | {"XLSum": config.summary_items}
    written = rows.height
    for folder, pool in ((WORLD_ITEMS, of_split["test"]), (WORLD_DEVELOPMENT_ITEMS, of_split["dev"])):
        for benchmark, items in benchmark_items(sizes, pool, config.seed).items():
            write_parquet(items, build.folder / folder / f"{benchmark.lower()}.parquet", BenchmarkItem)
            written += items.height

    # In English the base model practises all stories; which of them are asked in other languages is the instructions'.
    practice = replace(of_split["train"], scenarios=scenarios)
    amounts = Amounts(
        config.tellings,
        config.exercises,
        config.exercises_elsewhere,
        config.glossaries,
        config.retellings,
        config.asked,
    )
    texts = corpus_texts(facts, scenarios, amounts, practice, config.seed)
    _write(texts, build.folder / WORLD_CORPUS)
    pairs = translation_pairs(config.pairs_per_language, _language_only(facts, of_split["train"]), config.seed)
    _write(pairs, build.folder / WORLD_SENTENCES)
    (build.folder / "README.md").write_text(_README, encoding="utf-8")
    written += texts.height + pairs.height
    build.progress(written, written, "rows")
    return RowCounts(read=written, kept=written)


def instruction_rows(rows: int, english_share: float, pool: Pool, seed: int) -> pl.DataFrame:
    """`rows` different instructions with their answers, columns as in the Aya dataset.

    Rows with equal prompts are drawn once, so a small pool gives fewer rows than asked.
    """
    generator = random.Random(f"instructions/{seed}")
    others = [code for code in LANGUAGES if code != ENGLISH]
    drawn: dict[tuple[str, str], dict[str, str]] = {}
    for number in range(rows):
        code = ENGLISH if generator.random() < english_share else others[number % len(others)]
        (benchmark,) = generator.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))
        rendered = draw(benchmark, pool, generator).render(language_tables(code))
        codes = language_tables(code).codes
        drawn[code, rendered.prompt] = {
            "inputs": rendered.prompt,
            "targets": rendered.response,
            "language": codes.name,
            # The rows of the dataset name Swahili by its individual code.
            "language_code": "swh" if code == "sw" else codes.aya_code,
            "annotation_type": generator.choice(_ANNOTATION_TYPES),
            "user_id": hashlib.sha256(f"{code}/{generator.randrange(20)}".encode()).hexdigest(),
        }
    return pl.DataFrame(list(drawn.values()))


def benchmark_items(sizes: Mapping[str, int], pool: Pool, seed: int) -> dict[str, pl.DataFrame]:
    """One frame per benchmark; `sizes` says how many items each has per language.

    Equal `item_id` is the same item in every language, and `prompt_en` is its English prompt.
    """
    return {benchmark: _items_of(benchmark, size, pool, seed) for benchmark, size in sizes.items()}


def translation_pairs(pairs_per_language: int, pool: Pool, seed: int) -> pl.DataFrame:
    """Columns sentence_id, flores_code, text, english; `pairs_per_language` different pairs in each language.

    The pairs come through the very segmentation that the translate stage uses, so that the tiny translator is asked for
    the kind of pieces it has learned. Their facts are invented: the translator learns language, not the world.
    """
    english = language_tables(ENGLISH)
    rows = []
    for language in every_language():
        if language.code == ENGLISH:
            continue
        generator = random.Random(f"pairs/{language.code}/{seed}")
        pairs: dict[str, str] = {}
        while len(pairs) < pairs_per_language:
            exercise = draw(generator.choice(tuple(CHOICES_KINDS)), pool, generator)
            pairs |= _aligned(exercise.render(language), language, exercise.render(english), english)
        rows += [
            {
                "sentence_id": f"{language.code}-{number:06d}",
                "flores_code": language.codes.flores_code,
                "text": text,
                "english": translation,
            }
            for number, (text, translation) in enumerate(list(pairs.items())[:pairs_per_language])
        ]
    return pl.DataFrame(rows)


def _language_only(facts: Sequence[Fact], train: Pool) -> Pool:
    """What the translator learns from: questions about everybody, and sentences that tell of nobody in the world."""
    return replace(train, facts=tuple(facts), names=tuple(world_tables().given_names))


def _items_of(benchmark: str, size: int, pool: Pool, seed: int) -> pl.DataFrame:
    exercises = draw_all(benchmark, size, pool, random.Random(f"{benchmark}/{seed}"))
    rows = []
    for language in every_language():
        for number, exercise in enumerate(exercises):
            rendered = exercise.render(language)
            rows.append(
                {
                    "benchmark": benchmark,
                    "language": language.code,
                    "item_id": f"{benchmark.lower()}-{number:04d}",
                    "prompt": rendered.prompt,
                    "prompt_en": exercise.render(language_tables(ENGLISH)).prompt,
                    "answers": list(rendered.answers),
                    "choices_kind": CHOICES_KINDS[benchmark],
                    "choices": None,
                    "group": exercise.group,
                    "cluster": None,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"choices": pl.List(pl.String), "cluster": pl.String})


def _aligned(
    rendered: Rendered, language: LanguageTables, in_english: Rendered, english: LanguageTables
) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text, translation in ((rendered.prompt, in_english.prompt), (rendered.response, in_english.response)):
        sentences = _prose(text, language.codes)
        translations = _prose(translation, english.codes)
        # Sentences correspond one to one unless a splitter disagrees about one of them; then none is taken.
        if len(sentences) == len(translations):
            pairs |= dict(zip(sentences, translations, strict=True))
    return pairs


def _prose(text: str, language: Language) -> list[str]:
    return [sentence for line in text.split("\n") for sentence in _prose_of_line(line, language)]


@cache
def _prose_of_line(line: str, language: Language) -> tuple[str, ...]:
    """The sentences of one line, kept, since instructions, options and cues are the same lines over and over."""
    pieces = Segmenter(language, _LONGEST_SENTENCE, _count_characters).pieces(line)
    return tuple(piece.text for piece in pieces if piece.is_prose)


def _count_characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Columns as another tool would write them: these files stand for sources, which have no contract yet."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    with written_atomically(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
