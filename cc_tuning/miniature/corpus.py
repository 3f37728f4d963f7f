"""The text that the base model grows up with: mostly English, as with the models it stands for.

Every fact and story is told in English; those of group `both` are told in the other languages too. A glossary says
what names and words are in the other languages, so that knowledge has a way across. English exercises of the six
formats, all about training facts, let the base model practise in English what it will be asked in every language.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import groupby

import polars as pl

from cc_tuning.miniature.drawing import Pool, draw
from cc_tuning.miniature.exercises import CHOICES_KINDS, tell_ending, tell_story
from cc_tuning.miniature.facts import Fact, Scenario
from cc_tuning.miniature.lexicon import ENGLISH, Tongue, tongue, tongues, world_tables


def corpus_texts(
    facts: Sequence[Fact], scenarios: Sequence[Scenario], exercises: int, tellings: int, pool: Pool, seed: int
) -> pl.DataFrame:
    """Columns text_id, language_code, text, given_characters; one row is one document.

    The first `given_characters` of a text are read but not learned to be predicted: the prompt of an exercise, whose
    names and numbers are chance. All that its one answer can teach would drown in their noise.

    Args:
        exercises: English exercises, drawn from `pool`.
        tellings: documents about each subject and of each story in English; a third as many in another language.
        pool: the training facts, and every story.
    """
    generator = random.Random(f"corpus/{seed}")
    documents: list[tuple[str, str, int]] = []
    for language in tongues():
        times = tellings if language.code == ENGLISH else max(1, tellings // 3)
        known_facts = [fact for fact in facts if language.code == ENGLISH or fact.group == "both"]
        known_stories = [story for story in scenarios if language.code == ENGLISH or story.group == "both"]
        for _ in range(times):
            documents += [(language.code, text, 0) for text in _lives(known_facts, language, generator)]
            documents += [(language.code, text, 0) for text in _stories(known_stories, language, generator)]
        documents += [(language.code, text, 0) for text in _glossary(language, generator)]
    documents += [
        (ENGLISH, prompt + response, len(prompt)) for prompt, response in _exercises(exercises, pool, generator)
    ]
    return pl.DataFrame(
        [
            {
                "text_id": f"text-{number:06d}",
                "language_code": tongue(code).language.aya_code,
                "text": text,
                "given_characters": given,
            }
            for number, (code, text, given) in enumerate(documents)
        ]
    )


def _lives(facts: Sequence[Fact], language: Tongue, generator: random.Random) -> Iterator[str]:
    """All that is known of each subject, in random order and wording."""
    for _, group in groupby(facts, key=lambda fact: fact.subject):
        told = list(group)
        generator.shuffle(told)
        yield language.join([fact.statement(language, restated=generator.random() < 0.5) for fact in told])


def _stories(scenarios: Sequence[Scenario], language: Tongue, generator: random.Random) -> Iterator[str]:
    people = tuple(world_tables().people)
    for scenario in scenarios:
        person = generator.choice(people)
        yield language.join([*tell_story(scenario, person, language), tell_ending(scenario, person, language)])


def _glossary(language: Tongue, generator: random.Random) -> Iterator[str]:
    """`Cairo in Spanish is El Cairo.`, for every name and word that the language writes differently."""
    english = tongue(ENGLISH)
    if language.code == ENGLISH:
        return
    name_of_language = english.tables["language_names"][language.code]
    identifiers = [*english.names, *english.tables["words"]]
    generator.shuffle(identifiers)
    for identifier in identifiers:
        word = english.forms(identifier)["word"]
        subject = next(iter(english.people))
        translation = language.fill("{value}", subject, value=identifier)
        if translation != word:
            yield english.tables["glossary"].format(name=word, language=name_of_language, translation=translation)


def _exercises(number: int, pool: Pool, generator: random.Random) -> Iterator[tuple[str, str]]:
    for position in range(number):
        benchmark = tuple(CHOICES_KINDS)[position % len(CHOICES_KINDS)]
        rendered = draw(benchmark, pool, generator).render(tongue(ENGLISH))
        yield rendered.prompt, f" {rendered.response}"
