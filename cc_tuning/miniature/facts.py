"""The facts of the miniature world, and who may see which.

Knowledge becomes something a model can be asked for when there are many subjects, each told in several wordings and
orders, and some of them asked about (Allen-Zhu and Li 2023, arXiv 2309.14316). So there are hundreds of people, and the
split is by subject: training people are asked about in every language in instruction rows, and in many ways while the
base model grows up; of development and test people there are texts, quizzes and open questions, all in English.

Independently of that, the base model meets a subject in every language (group `both`) or in English only (group
`english_only`): test people are all of the second group, so that an answer in another language has to cross over.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cc_tuning.miniature.lexicon import LanguageTables, world_tables

Split = Literal["train", "dev", "test"]
Group = Literal["both", "english_only", "in_prompt"]
"""`in_prompt`: of people whom no text tells of, so that the prompt is the only place to know them from."""

_SPLIT_SHARES = {"train": 0.5, "dev": 0.12}  # tests have the rest
_STRANGERS = 400
_SYLLABLES = 3


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


def make_facts(seed: int, people: int) -> tuple[Fact, ...]:
    """Every fact of the world with this seed: of `people` invented people and of all countries, sorted by subject.

    Countries are common knowledge: told in every language, and asked in training only.

    """
    told, _ = _names(seed, people)
    facts = []
    for split, names in _parts(told).items():
        for number, name in enumerate(names):
            group: Group = "both" if split == "train" and number % 2 else "english_only"
            facts += _facts_of(name, "person", split, group, seed)
    for country in world_tables().countries:
        facts += _facts_of(country, "country", "train", "both", seed)
    return tuple(sorted(facts, key=lambda fact: (fact.subject, fact.relation)))


def make_strangers(seed: int, people: int) -> dict[Split, tuple[Fact, ...]]:
    """The facts of people who are none of the world's, each split with its own.

    Exercises tell of them in their prompts, and no other text does.
    """
    _, left = _names(seed, people)
    return {
        split: tuple(fact for name in names for fact in _facts_of(name, "person", split, "in_prompt", seed))
        for split, names in _parts(left).items()
    }


def make_scenarios(seed: int) -> tuple[Scenario, ...]:
    """Every kind of story with its split and group."""
    stories = list(world_tables().stories)
    random.Random(f"stories/{seed}").shuffle(stories)
    return tuple(
        Scenario(name, split, "english_only" if number % 2 else "both")
        for split, names in _parts(stories).items()
        for number, name in enumerate(names)
    )


def names_in_stories(split: Split) -> tuple[str, ...]:
    """The given names that stories are told with: others in training than in development and tests."""
    names = tuple(world_tables().given_names)
    return names[::2] if split == "train" else names[1::2]


def other_value(fact: Fact, generator: random.Random) -> Fact:
    """The same sentence with a wrong value."""
    values = [value for value in world_tables().relations[fact.relation].values if value != fact.value]
    return replace(fact, value=generator.choice(values))


def _names(seed: int, people: int) -> tuple[list[str], list[str]]:
    """The ids of the people whom the world tells of, and those of strangers, all different, in random order."""
    generator = random.Random(f"people/{seed}")
    names: dict[str, None] = {}
    while len(names) < people + _STRANGERS:
        names["-".join(generator.sample(world_tables().syllables, _SYLLABLES))] = None
    return list(names)[:people], list(names)[people:]


def _facts_of(subject: str, kind: str, split: Split, group: Group, seed: int) -> list[Fact]:
    generator = random.Random(f"facts/{subject}/{seed}")
    relations = [relation for relation in world_tables().relations.values() if relation.subject_kind == kind]
    return [
        Fact(relation.name, subject, _value(relation.name, subject, relation.values, generator), split, group)
        for relation in relations
    ]


def _value(relation: str, subject: str, values: Sequence[str], generator: random.Random) -> str:
    if relation in ("capital", "continent"):
        capital, continent = world_tables().countries[subject]
        return capital if relation == "capital" else continent
    return generator.choice(values)


def _parts(names: Sequence[str]) -> dict[Split, Sequence[str]]:
    """Names cut into the splits by their shares, each split with one at least."""
    train = max(1, round(_SPLIT_SHARES["train"] * len(names)))
    dev = max(1, round(_SPLIT_SHARES["dev"] * len(names)))
    return {"train": names[:train], "dev": names[train : train + dev], "test": names[train + dev :]}
