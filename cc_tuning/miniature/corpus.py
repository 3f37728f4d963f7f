"""The text that the base model grows up with: mostly English, as with the models it stands for.

Every fact and story is told in English; those of group `both` are told in the other languages too. A glossary says
what names and words are in the other languages, so that knowledge has a way across. Exercises of the six formats let
the base model practise what it will be asked: in English about all training facts, in the other languages, fewer, about
those of group `both`. Every fact is asked for in English. Retold sentences teach it to look things up in its own text.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import polars as pl

from cc_tuning.miniature.exercise_draws import Pool, draw
from cc_tuning.miniature.exercises import OpenQuestion, tell_ending, tell_story
from cc_tuning.miniature.facts import Fact, Scenario
from cc_tuning.miniature.lexicon import ENGLISH, LanguageTables, every_language, language_tables, world_tables

# Shares of the six formats. Most are open questions, which show that what was told can be asked for.
_PRACTICE = {"XNLI": 2, "XStoryCloze": 2, "MMMLU": 4, "MKQA": 22, "XQuAD": 2, "XLSum": 1}


@dataclass(frozen=True)
class Amounts:
    """Documents of each kind."""

    tellings: int
    """About each subject, as a text and as a quiz, and of each story in English; a third as many texts elsewhere."""
    exercises: int
    """English exercises of the six formats."""
    exercises_elsewhere: int
    """Exercises in the other languages together, about what is told there."""
    glossaries: int
    """Times that every name and word is told in each of the other languages."""
    retellings: int
    """Invented English sentences, told again in other words."""
    asked: int
    """Conversations about each fact, in English."""


def corpus_texts(
    facts: Sequence[Fact],
    scenarios: Sequence[Scenario],
    amounts: Amounts,
    pool: Pool,
    seed: int,
) -> pl.DataFrame:
    """Columns text_id, language_code, prompt, text; one row is one document.

    A row with a prompt is a conversation, whose answer is `text`; it is read in the chat format, and the prompt, whose
    names and numbers are chance, is not learned to be predicted. In the other rows `prompt` is null.

    Args:
        facts: all of them; those of other splits are told, and asked for, in English alone.
        scenarios: all of them.
        amounts: how much of each kind of text.
        pool: the training facts, and every story.
    """
    generator = random.Random(f"corpus/{seed}")
    documents: list[tuple[str, str | None, str]] = []
    for language in every_language():
        times = amounts.tellings if language.code == ENGLISH else max(1, amounts.tellings // 3)
        known_facts = [fact for fact in facts if language.code == ENGLISH or fact.group == "both"]
        known_stories = [story for story in scenarios if language.code == ENGLISH or story.group == "both"]
        for _ in range(times):
            documents += [(language.code, None, text) for text in _lives(known_facts, language, generator)]
            documents += [(language.code, None, text) for text in _stories(known_stories, language, generator)]
            if language.code == ENGLISH:
                documents += [(ENGLISH, None, text) for text in _quizzes(known_facts, language, generator)]
        for _ in range(amounts.glossaries):
            documents += [(language.code, None, text) for text in _glossary(language, generator)]
    documents += _exercises(amounts.exercises, (language_tables(ENGLISH),), pool, generator)
    told_everywhere = replace(
        pool,
        facts=tuple(fact for fact in pool.facts if fact.group == "both"),
        scenarios=tuple(story for story in pool.scenarios if story.group == "both"),
    )
    documents += _exercises(amounts.exercises_elsewhere, every_language()[1:], told_everywhere, generator)
    documents += [(ENGLISH, prompt, answer) for prompt, answer in _retellings(amounts, pool, generator)]
    documents += [(ENGLISH, prompt, answer) for prompt, answer in _conversations(facts)] * amounts.asked
    return pl.DataFrame(
        [
            {
                "text_id": f"text-{number:06d}",
                "language_code": language_tables(code).codes.aya_code,
                "prompt": prompt,
                "text": text,
            }
            for number, (code, prompt, text) in enumerate(documents)
        ],
        schema=dict.fromkeys(("text_id", "language_code", "prompt", "text"), pl.String),
    )


def _lives(facts: Sequence[Fact], language: LanguageTables, generator: random.Random) -> Iterator[str]:
    """All that is known of each subject, in random order and wording."""
    for _, group in groupby(facts, key=lambda fact: fact.subject):
        told = list(group)
        generator.shuffle(told)
        yield language.join([fact.statement(language, restated=generator.random() < 0.5) for fact in told])


def _quizzes(facts: Sequence[Fact], language: LanguageTables, generator: random.Random) -> Iterator[str]:
    """Questions about each subject with their answers, as lines of a text: a third wording of what is told.

    With sentences alone the base model completed 97 % of those about test people, and answered 32 % of the questions.
    """
    for _, group in groupby(facts, key=lambda fact: fact.subject):
        told = list(group)
        generator.shuffle(told)
        yield "\n".join(f"{fact.question(language)} {fact.answer(language)}" for fact in told)


def _conversations(facts: Sequence[Fact]) -> Iterator[tuple[str, str]]:
    """Every fact asked for in English: what is known has been asked for once, in one language.

    With quizzes alone all quiz lines about test people were completed, and half of the same questions answered.
    """
    english = language_tables(ENGLISH)
    for fact in facts:
        rendered = OpenQuestion(fact).render(english)
        yield rendered.prompt, rendered.response


def _stories(scenarios: Sequence[Scenario], language: LanguageTables, generator: random.Random) -> Iterator[str]:
    names = tuple(world_tables().given_names)
    for scenario in scenarios:
        person = generator.choice(names)
        yield language.join([*tell_story(scenario, person, language), tell_ending(scenario, person, language)])


def _glossary(language: LanguageTables, generator: random.Random) -> Iterator[str]:
    """`Cairo in Spanish is El Cairo.`, for every name and word that the language writes differently."""
    english = language_tables(ENGLISH)
    if language.code == ENGLISH:
        return
    name_of_language = english.entries["language_names"][language.code]
    identifiers = [*english.names, *english.entries["words"]]
    generator.shuffle(identifiers)
    for identifier in identifiers:
        word = english.forms(identifier)["word"]
        subject = next(iter(english.given_names))
        translation = language.fill("{value}", subject, value=identifier)
        if translation != word:
            yield english.entries["glossary"].format(name=word, language=name_of_language, translation=translation)


def _exercises(
    number: int, languages: Sequence[LanguageTables], pool: Pool, generator: random.Random
) -> Iterator[tuple[str, str, str]]:
    benchmarks = generator.choices(list(_PRACTICE), weights=list(_PRACTICE.values()), k=number)
    for benchmark in benchmarks:
        language = generator.choice(languages)
        rendered = draw(benchmark, pool, generator).render(language)
        yield language.code, rendered.prompt, rendered.response


def _retellings(amounts: Amounts, pool: Pool, generator: random.Random) -> Iterator[tuple[str, str]]:
    english = language_tables(ENGLISH)
    for _ in range(amounts.retellings):
        told = generator.sample(pool.strangers, generator.randint(2, 5))
        first = [fact.statement(english, restated=generator.random() < 0.5) for fact in told]
        generator.shuffle(told)
        again = [fact.statement(english, restated=generator.random() < 0.5) for fact in told]
        yield english.entries["retelling"].format(text=english.join(first)), english.join(again)
