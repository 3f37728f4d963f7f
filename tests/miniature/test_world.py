"""What the `world` stage writes: equal bytes, kept contracts, and no test fact where it could be learned."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.evaluation.benchmarks import PAPER_BENCHMARKS
from cc_tuning.miniature.exercises import OpenQuestion
from cc_tuning.miniature.facts import make_facts, make_scenarios, make_strangers, names_in_stories
from cc_tuning.miniature.lexicon import LANGUAGES, language_tables
from cc_tuning.miniature.world import build_world
from cc_tuning.runtime.stage_table import WORLD
from cc_tuning.text.languages import find_language
from data_contracts.fingerprint import digest_of_files
from data_contracts.parquet import read_parquet, read_verified
from data_contracts.schemas import BenchmarkItem
from tests.miniature.conftest import SMALL, make_build

_FACTS = make_facts(SMALL.seed, SMALL.people)
_GROUPS = {"MKQA": {"english_only"}, "MMMLU": {"english_only"}, "XStoryCloze": {"both", "english_only"}}


def test_equal_configs_give_equal_bytes(small_world: Path, tmp_path: Path) -> None:
    build_world(make_build(SMALL, {}, tmp_path / "again"))
    assert digest_of_files(tmp_path / "again") == digest_of_files(small_world)


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"seed": 1})
    assert WORLD.step(other).fingerprint != WORLD.step(SMALL).fingerprint
    assert make_facts(1, SMALL.people) != _FACTS


@pytest.mark.parametrize("folder", ["benchmarks", "development"])
def test_six_benchmarks_keep_the_contract_and_are_parallel(small_world: Path, folder: str) -> None:
    for benchmark in PAPER_BENCHMARKS:
        items = read_parquet(small_world / folder / f"{benchmark.lower()}.parquet", BenchmarkItem)
        assert sorted(items["language"].unique()) == sorted(LANGUAGES)
        ids = {language: set(part["item_id"]) for (language,), part in items.group_by("language")}
        assert len({frozenset(part) for part in ids.values()}) == 1
        assert set(items["group"]) == _GROUPS.get(benchmark, {"in_prompt"})
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


def test_no_benchmark_prompt_is_an_instruction_or_practised_but_english_open_questions(small_world: Path) -> None:
    instructions = set(read_verified(small_world / "aya.parquet")["inputs"])
    practised = set(read_verified(small_world / "corpus.parquet")["prompt"].drop_nulls())
    for benchmark in PAPER_BENCHMARKS:
        items = read_verified(small_world / "benchmarks" / f"{benchmark.lower()}.parquet")
        english = set(items.filter(pl.col("language") == "en")["prompt"])
        elsewhere = set(items.filter(pl.col("language") != "en")["prompt"])
        assert not (english | elsewhere) & instructions
        assert not elsewhere & practised
        assert (english <= practised) if benchmark == "MKQA" else not english & practised


def test_facts_of_group_english_only_are_told_in_english_only(small_world: Path) -> None:
    corpus = read_verified(small_world / "corpus.parquet").filter(pl.col("prompt").is_null())
    for code in LANGUAGES:
        language = language_tables(code)
        aya_code = language.codes.aya_code
        texts = "\n".join(corpus.filter(pl.col("language_code") == aya_code)["text"])
        for fact in _FACTS:
            relation = language.entries["relations"][fact.relation]
            wordings = (relation["statement"], relation["restatement"])
            told = any(language.fill(wording, fact.subject, value=fact.value) in texts for wording in wordings)
            assert told == (code == "en" or fact.group == "both"), (code, fact)


def test_english_has_a_quiz_about_every_subject_and_no_other_language_has_one(small_world: Path) -> None:
    corpus = read_verified(small_world / "corpus.parquet").filter(pl.col("prompt").is_null())
    quizzes = [text.split("\n") for text in corpus["text"] if "\n" in text]
    english = language_tables("en")
    asked = sorted(line for lines in quizzes for line in lines)
    assert asked == sorted(f"{fact.question(english)} {fact.answer(english)}" for fact in _FACTS)
    assert len(quizzes) == len({fact.subject for fact in _FACTS})


def test_conversations_of_the_base_model_ask_about_other_than_training_facts_in_english_alone_as_often_as_told(
    small_world: Path,
) -> None:
    corpus = read_verified(small_world / "corpus.parquet").filter(pl.col("prompt").is_not_null())
    prompts, answered = "\n".join(corpus["prompt"]), list(zip(corpus["prompt"], corpus["text"], strict=True))
    untrained = [fact for fact in _FACTS if fact.split != "train"]
    for code in LANGUAGES:
        language = language_tables(code)
        for fact in untrained:
            if code == "en":
                asked = OpenQuestion(fact).render(language)
                assert answered.count((asked.prompt, asked.response)) == SMALL.asked
                assert prompts.count(fact.question(language)) == SMALL.asked
            else:
                assert fact.question(language) not in prompts


def test_translation_pairs_tell_no_test_fact(small_world: Path) -> None:
    english = set(read_verified(small_world / "sentences.parquet")["english"])
    language = language_tables("en")
    for fact in _FACTS:
        if fact.split != "train":
            assert fact.statement(language) not in english


def test_all_facts_of_a_person_share_split_and_group_and_tests_ask_what_only_english_tells() -> None:
    standing: dict[str, set[tuple[str, str]]] = {}
    for fact in _FACTS:
        standing.setdefault(fact.subject, set()).add((fact.split, fact.group))
    assert all(len(seen) == 1 for seen in standing.values())
    groups = {split: {fact.group for fact in _FACTS if fact.split == split} for split in ("train", "dev", "test")}
    assert groups == {"train": {"both", "english_only"}, "dev": {"english_only"}, "test": {"english_only"}}


def test_half_of_the_people_are_asked_about_in_training() -> None:
    of_people = {fact.subject: fact.split for fact in _FACTS if fact.relation == "pet"}
    assert len(of_people) == SMALL.people
    assert sum(split == "train" for split in of_people.values()) == SMALL.people // 2


def test_strangers_are_none_of_the_worlds_people_and_each_of_one_split() -> None:
    seen = {fact.subject for fact in _FACTS}
    for strangers in make_strangers(SMALL.seed, SMALL.people).values():
        names = {fact.subject for fact in strangers}
        assert names and not names & seen
        seen |= names


def test_stories_of_tests_are_told_of_other_people_than_those_of_training() -> None:
    assert not set(names_in_stories("train")) & set(names_in_stories("test"))
    assert {scenario.split for scenario in make_scenarios(0)} == {"train", "dev", "test"}
