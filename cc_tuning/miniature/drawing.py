"""Exercises drawn at random from a pool of facts and stories.

Everything in an exercise comes from its own pool, wrong options and side sentences included, so that exercises drawn
from training facts cannot tell a test fact.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from cc_tuning.miniature.exercises import (
    Exercise,
    Inference,
    MultipleChoice,
    OpenQuestion,
    Reading,
    StoryCloze,
    Summary,
)
from cc_tuning.miniature.facts import Fact, Group, Scenario, Split, other_value
from cc_tuning.miniature.lexicon import world_tables

_FILLERS = 4
_TRIES_PER_EXERCISE = 100
_CONTEXT_SENTENCES = 3


@dataclass(frozen=True)
class Pool:
    """The facts and stories that exercises may be made of."""

    facts: tuple[Fact, ...]
    scenarios: tuple[Scenario, ...]
    kept_apart: frozenset[tuple[str, str, str]] = frozenset()
    """(relation, subject, value) of true facts outside the pool: no invented sentence may happen to tell one."""

    @classmethod
    def of_split(cls, split: Split, facts: Iterable[Fact], scenarios: Iterable[Scenario]) -> "Pool":
        """What belongs to one split."""
        facts = tuple(facts)
        return cls(
            tuple(fact for fact in facts if fact.split == split),
            tuple(scenario for scenario in scenarios if scenario.split == split),
            frozenset((fact.relation, fact.subject, fact.value) for fact in facts if fact.split != split),
        )

    @cached_property
    def about_people(self) -> tuple[Fact, ...]:
        """The facts whose subject is a person."""
        return tuple(fact for fact in self.facts if fact.subject in world_tables().people)

    @cached_property
    def summarised(self) -> tuple[tuple[Fact, Fact], ...]:
        """(profession, home) of each person of whom both are known."""
        pairs = []
        for _, facts in groupby(sorted(self.about_people, key=lambda fact: fact.subject), lambda fact: fact.subject):
            told = {fact.relation: fact for fact in facts}
            if {"profession", "home"} <= told.keys():
                pairs.append((told["profession"], told["home"]))
        return tuple(pairs)


def draw(benchmark: str, pool: Pool, generator: random.Random) -> Exercise:
    """One exercise of a benchmark."""
    return _DRAWN[benchmark](pool, generator)


def draw_all(benchmark: str, number: int, pool: Pool, generator: random.Random) -> list[Exercise]:
    """`number` different exercises of a benchmark, evenly over answers (where they are options) and groups.

    Always answering the same option therefore scores what chance scores. Fewer exercises come back when the pool has no
    more: a small pool holds few different open questions.
    """
    drawn: list[Exercise] = []
    stratum_sizes: dict[tuple[str, Group], int] = {}
    for _ in range(_TRIES_PER_EXERCISE * number):
        exercise = draw(benchmark, pool, generator)
        stratum = (exercise.option, exercise.group)
        # A stratum waits until the others have caught up, as far as chance offers them.
        if exercise in drawn or stratum_sizes.get(stratum, 0) > min(stratum_sizes.values(), default=0):
            continue
        stratum_sizes[stratum] = stratum_sizes.get(stratum, 0) + 1
        drawn.append(exercise)
        if len(drawn) == number:
            break
    return drawn


def _draw_inference(pool: Pool, generator: random.Random) -> Exercise:
    premise = generator.choice(pool.about_people)
    label = generator.choice((1, 2, 3))
    if label == 1:
        return Inference(premise, premise, label)
    if label == 3:
        return Inference(premise, _untold(lambda: other_value(premise, generator), pool), label)
    relations = [
        relation
        for relation in world_tables().relations.values()
        if relation.subject_kind == "person" and relation.name != premise.relation
    ]

    def something_else() -> Fact:
        relation = generator.choice(relations)
        return replace(premise, relation=relation.name, value=generator.choice(relation.values))

    return Inference(premise, _untold(something_else, pool), label)


def _untold(propose: Callable[[], Fact], pool: Pool) -> Fact:
    """A proposed sentence that does not happen to tell a fact of another split."""
    while True:
        fact = propose()
        if (fact.relation, fact.subject, fact.value) not in pool.kept_apart:
            return fact


def _draw_story_cloze(pool: Pool, generator: random.Random) -> Exercise:
    scenario, other = generator.sample(pool.scenarios, 2)
    return StoryCloze(scenario, other, generator.choice(tuple(world_tables().people)), generator.choice((1, 2)))


def _draw_multiple_choice(pool: Pool, generator: random.Random) -> Exercise:
    fact = generator.choice(pool.facts)
    values = [value for value in world_tables().relations[fact.relation].values if value != fact.value]
    options = [fact, *(replace(fact, value=value) for value in generator.sample(values, 3))]
    generator.shuffle(options)
    first, second, third, fourth = options
    return MultipleChoice(fact, (first, second, third, fourth))


def _draw_open_question(pool: Pool, generator: random.Random) -> Exercise:
    return OpenQuestion(generator.choice(pool.facts))


def _draw_reading(pool: Pool, generator: random.Random) -> Exercise:
    asked = generator.choice(pool.about_people)
    rest = [fact for fact in pool.about_people if (fact.relation, fact.subject) != (asked.relation, asked.subject)]
    # One sentence with the same relation and another subject, so that the relation alone does not find the answer.
    decoy = generator.choice([fact for fact in rest if fact.relation == asked.relation])
    others = generator.sample([fact for fact in rest if fact.relation != asked.relation], _CONTEXT_SENTENCES - 2)
    context = [asked, decoy, *others]
    generator.shuffle(context)
    return Reading(tuple(context), asked)


def _draw_summary(pool: Pool, generator: random.Random) -> Exercise:
    profession, home = generator.choice(pool.summarised)
    of_person = [
        fact
        for fact in pool.about_people
        if fact.subject == profession.subject and fact.relation not in ("profession", "home")
    ]
    others = generator.sample(of_person, min(1, len(of_person)))
    told = 2 + len(others)
    order = [*range(told), *(told + filler for filler in generator.sample(range(_FILLERS), 2))]
    generator.shuffle(order)
    return Summary(profession, home, tuple(others), tuple(order))


_DRAWN: dict[str, Callable[[Pool, random.Random], Exercise]] = {
    "XNLI": _draw_inference,
    "XStoryCloze": _draw_story_cloze,
    "MMMLU": _draw_multiple_choice,
    "MKQA": _draw_open_question,
    "XQuAD": _draw_reading,
    "XLSum": _draw_summary,
}


def pools(facts: Sequence[Fact], scenarios: Sequence[Scenario]) -> dict[Split, Pool]:
    """One pool per split."""
    splits: tuple[Split, ...] = ("train", "dev", "test")
    return {split: Pool.of_split(split, facts, scenarios) for split in splits}
