"""What the `world` stage writes: equal bytes, kept contracts, and no test fact where it could be learned."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.evaluation.benchmarks import PAPER_BENCHMARKS
from cc_tuning.miniature.facts import make_facts, make_scenarios, people_of
from cc_tuning.miniature.lexicon import LANGUAGES, language_tables
from cc_tuning.miniature.world import build_world
from cc_tuning.runtime.stage_table import WORLD
from cc_tuning.text.languages import find_language
from data_contracts.fingerprint import digest_of_files
from data_contracts.parquet import read_parquet, read_verified
from data_contracts.schemas import BenchmarkItem
from tests.miniature.conftest import SMALL, make_build

_FACTS = make_facts(SMALL.seed)


def test_equal_configs_give_equal_bytes(small_world: Path, tmp_path: Path) -> None:
    build_world(make_build(SMALL, {}, tmp_path / "again"))
    assert digest_of_files(tmp_path / "again") == digest_of_files(small_world)


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"seed": 1})
    assert WORLD.step(other).fingerprint != WORLD.step(SMALL).fingerprint
    assert make_facts(1) != _FACTS


@pytest.mark.parametrize("folder", ["benchmarks", "development"])
def test_six_benchmarks_keep_the_contract_and_are_parallel(small_world: Path, folder: str) -> None:
    for benchmark in PAPER_BENCHMARKS:
        items = read_parquet(small_world / folder / f"{benchmark.lower()}.parquet", BenchmarkItem)
        assert sorted(items["language"].unique()) == sorted(LANGUAGES)
        ids = {language: set(part["item_id"]) for (language,), part in items.group_by("language")}
        assert len({frozenset(part) for part in ids.values()}) == 1
        assert set(items["group"]) == {"both", "english_only"}
        english = dict(items.filter(pl.col("language") == "en").select("item_id", "prompt").iter_rows())
        for item_id, prompt_en in items.select("item_id", "prompt_en").iter_rows():
            assert prompt_en == english[item_id]


def test_instructions_have_ayas_columns_known_codes_and_more_english_than_anything_else(small_world: Path) -> None:
    rows = read_verified(small_world / "aya.parquet")
    assert rows.columns == ["inputs", "targets", "language", "language_code", "annotation_type", "user_id"]
    for code, name in rows.select("language_code", "language").unique().iter_rows():
        assert find_language(code, name).name == name
    counts = dict(rows["language_code"].value_counts().iter_rows())
    assert set(counts) == {"eng", "spa", "swh", "hin", "zho", "arb"}
    assert counts["eng"] == max(counts.values())


def test_no_test_fact_is_told_or_asked_in_the_instructions(small_world: Path) -> None:
    rows = read_verified(small_world / "aya.parquet")
    texts = "\n".join((rows["inputs"] + "\n" + rows["targets"]).to_list())
    for code in LANGUAGES:
        language = language_tables(code)
        for fact in _FACTS:
            if fact.split == "train":
                continue
            assert fact.statement(language) not in texts
            assert fact.statement(language, restated=True) not in texts


def test_no_benchmark_prompt_is_an_instruction_or_practised(small_world: Path) -> None:
    instructions = set(read_verified(small_world / "aya.parquet")["inputs"])
    practised = set(read_verified(small_world / "corpus.parquet")["prompt"].drop_nulls())
    for benchmark in PAPER_BENCHMARKS:
        prompts = set(read_verified(small_world / "benchmarks" / f"{benchmark.lower()}.parquet")["prompt"])
        assert not prompts & (instructions | practised)


def test_facts_of_group_english_only_are_told_in_english_only(small_world: Path) -> None:
    corpus = read_verified(small_world / "corpus.parquet").filter(pl.col("prompt").is_null())
    for code in LANGUAGES:
        language = language_tables(code)
        aya_code = language.codes.aya_code
        texts = "\n".join(corpus.filter(pl.col("language_code") == aya_code)["text"])
        for fact in _FACTS:
            told = any(fact.statement(language, restated=restated) in texts for restated in (False, True))
            assert told == (code == "en" or fact.group == "both"), (code, fact)


def test_translation_pairs_tell_no_test_fact(small_world: Path) -> None:
    english = set(read_verified(small_world / "sentences.parquet")["english"])
    language = language_tables("en")
    for fact in _FACTS:
        if fact.split != "train":
            assert fact.statement(language) not in english


def test_profession_and_home_of_a_person_share_split_and_group() -> None:
    standing: dict[str, set[tuple[str, str]]] = {}
    for fact in _FACTS:
        if fact.relation in ("profession", "home"):
            standing.setdefault(fact.subject, set()).add((fact.split, fact.group))
    assert all(len(seen) == 1 for seen in standing.values())


def test_stories_of_tests_are_told_of_other_people_than_those_of_training() -> None:
    assert not set(people_of("train")) & set(people_of("test"))
    assert {scenario.split for scenario in make_scenarios(0)} == {"train", "dev", "test"}
