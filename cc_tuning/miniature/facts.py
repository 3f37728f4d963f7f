"""The facts of the miniature world, and who may see which.

A fact is in one split. Training facts become instruction rows, development facts serve to choose sizes, test facts
become benchmark items and are in no instruction row. Independently of that, the base model meets a fact in every
language (group `both`) or in English only (group `english_only`): the second group asks whether knowledge crosses.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cc_tuning.miniature.lexicon import LanguageTables, world_tables

Split = Literal["train", "dev", "test"]
Group = Literal["both", "english_only"]

_SPLIT_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.5), ("dev", 0.12), ("test", 0.38))
# Told together in the one-sentence summary of a person, so they share split and group.
_SUMMARISED = ("profession", "home")


@dataclass(frozen=True)
class Fact:
    """`subject` has `value` under `relation`; all three are ids of the tables."""

    relation: str
    subject: str
    value: str
    split: Split
    group: Group

    def statement(self, language: LanguageTables, restated: bool = False) -> str:
        """The fact as a sentence, in the first or the second of the two wordings."""
        return self._fill(language, "restatement" if restated else "statement")

    def question(self, language: LanguageTables) -> str:
        """The question whose answer is the value."""
        return self._fill(language, "question")

    def answer(self, language: LanguageTables) -> str:
        """The value as it stands alone, and inside the statement."""
        return self._fill(language, "answer")

    def _fill(self, language: LanguageTables, wording: str) -> str:
        return language.fill(language.entries["relations"][self.relation][wording], self.subject, value=self.value)


@dataclass(frozen=True)
class Scenario:
    """A kind of story, with the split and group that a fact would have."""

    name: str
    split: Split
    group: Group


def make_facts(seed: int) -> tuple[Fact, ...]:
    """Every fact of the world with this seed: each person's and each country's, sorted by subject."""
    tables = world_tables()
    generator = random.Random(f"facts/{seed}")
    facts = []
    for kind, subjects in (("person", tuple(tables.people)), ("country", tuple(tables.countries))):
        relations = [relation for relation in tables.relations.values() if relation.subject_kind == kind]
        for relation in relations:
            purpose = _SUMMARISED[0] if relation.name in _SUMMARISED else relation.name
            standing = _standings(subjects, random.Random(f"split/{purpose}/{seed}"))
            for subject in subjects:
                value = _value(relation.name, subject, relation.values, generator)
                facts.append(Fact(relation.name, subject, value, *standing[subject]))
    return tuple(sorted(facts, key=lambda fact: (fact.subject, fact.relation)))


def make_scenarios(seed: int) -> tuple[Scenario, ...]:
    """Every kind of story with its split and group."""
    stories = world_tables().stories
    standing = _standings(stories, random.Random(f"stories/{seed}"))
    return tuple(Scenario(story, *standing[story]) for story in stories)


def people_of(split: Split) -> tuple[str, ...]:
    """The people that exercises about stories are told of: others in training than in development and tests."""
    people = tuple(world_tables().people)
    return people[::2] if split == "train" else people[1::2]


def other_value(fact: Fact, generator: random.Random) -> Fact:
    """The same sentence with a wrong value."""
    values = [value for value in world_tables().relations[fact.relation].values if value != fact.value]
    return replace(fact, value=generator.choice(values))


def invented_worlds(number: int, facts: Sequence[Fact], seed: int) -> tuple[tuple[Fact, ...], ...]:
    """`number` worlds like that of `facts` with other values. No development or test fact is true in any of them.

    What stands in the prompt of an exercise is invented, so that reading it is the only way to the answer.
    """
    generator = random.Random(f"invented/{seed}")
    return tuple(tuple(_invented(fact, generator) for fact in facts) for _ in range(number))


def _invented(fact: Fact, generator: random.Random) -> Fact:
    if fact.split != "train":
        return replace(other_value(fact, generator), split="train")
    return replace(fact, value=generator.choice(world_tables().relations[fact.relation].values))


def _value(relation: str, subject: str, values: Sequence[str], generator: random.Random) -> str:
    if relation in ("capital", "continent"):
        capital, continent = world_tables().countries[subject]
        return capital if relation == "capital" else continent
    return generator.choice(values)


def _standings(names: Sequence[str], generator: random.Random) -> dict[str, tuple[Split, Group]]:
    """Split and group of each name: splits by share, groups half and half inside each split."""
    shuffled = list(names)
    generator.shuffle(shuffled)
    standing: dict[str, tuple[Split, Group]] = {}
    first = 0
    for split, share in _SPLIT_SHARES:
        last = len(shuffled) if split == _SPLIT_SHARES[-1][0] else first + round(share * len(shuffled))
        for position, name in enumerate(shuffled[first:last]):
            standing[name] = (split, "both" if position % 2 == 0 else "english_only")
        first = last
    return standing
