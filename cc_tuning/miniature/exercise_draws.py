"""Exercises drawn at random from a pool of facts and stories.

Everything in an exercise comes from its own pool, wrong options and side sentences included, so that exercises drawn
from training facts cannot tell a test fact.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest

from cc_tuning.miniature.exercises import (
    Exercise,
    Inference,
    MultipleChoice,
    OpenQuestion,
    Reading,
    StoryCloze,
    Summary,
)
from cc_tuning.miniature.facts import Fact, Group, Scenario, Split, invented_worlds, other_value, people_of
from cc_tuning.miniature.lexicon import world_tables

_FILLERS = 4
_SUMMARISED = {"profession", "home"}
_INVENTED_WORLDS = 20
_CANDIDATES_PER_EXERCISE = 20
_CONTEXT_SENTENCES = 3


@dataclass(frozen=True)
class Pool:
    """The facts, stories and people that exercises may be made of."""

    facts: tuple[Fact, ...]
    """Asked for from memory."""
    worlds: tuple[tuple[Fact, ...], ...]
    """Told in prompts, to be read: each exercise takes its sentences from one of these."""
    scenarios: tuple[Scenario, ...]
    people: tuple[str, ...]
    """The people that stories are told of."""
    kept_apart: frozenset[tuple[str, str, str]]
    """(relation, subject, value) of true facts of other splits: no wrong sentence may happen to tell one."""

    @cached_property
    def people_in_worlds(self) -> tuple[tuple[Fact, ...], ...]:
        """The worlds without their countries."""
        people = world_tables().people
        return tuple(tuple(fact for fact in world if fact.subject in people) for world in self.worlds)


def pools(facts: Sequence[Fact], scenarios: Sequence[Scenario], seed: int) -> dict[Split, Pool]:
    """One pool per split. Training reads of invented worlds, development and tests of their own facts."""
    splits: tuple[Split, ...] = ("train", "dev", "test")
    made = {}
    for split in splits:
        own = tuple(fact for fact in facts if fact.split == split)
        made[split] = Pool(
            facts=own,
            worlds=invented_worlds(_INVENTED_WORLDS, facts, seed) if split == "train" else (own,),
            scenarios=tuple(scenario for scenario in scenarios if scenario.split == split),
            people=people_of(split),
            kept_apart=frozenset((fact.relation, fact.subject, fact.value) for fact in facts if fact.split != split),
        )
    return made


def draw(benchmark: str, pool: Pool, generator: random.Random) -> Exercise:
    """One exercise of a benchmark."""
    return _DRAWN[benchmark](pool, generator)


def draw_all(benchmark: str, number: int, pool: Pool, generator: random.Random) -> list[Exercise]:
    """`number` different exercises of a benchmark, evenly over answers (where they are options) and groups.

    Always answering the same option therefore scores what chance scores. Fewer exercises come back when the pool has no
    more: a small pool holds few different open questions.
    """
    strata: dict[tuple[str, Group], list[Exercise]] = {}
    for exercise in dict.fromkeys(draw(benchmark, pool, generator) for _ in range(_CANDIDATES_PER_EXERCISE * number)):
        strata.setdefault((exercise.option, exercise.group), []).append(exercise)
    # One from each stratum, again and again; a stratum that is used up leaves its turns to the others.
    rounds = zip_longest(*(strata[stratum] for stratum in sorted(strata)))
    in_turn = [exercise for one_each in rounds for exercise in one_each if exercise is not None]
    return in_turn[:number]


def _draw_inference(pool: Pool, generator: random.Random) -> Exercise:
    premise = generator.choice(generator.choice(pool.people_in_worlds))
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
    return StoryCloze(scenario, other, generator.choice(pool.people), generator.choice((1, 2)))


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
    world = generator.choice(pool.people_in_worlds)
    asked = generator.choice(world)
    # One sentence with the same relation and another subject, so that the relation alone does not find the answer.
    decoy = generator.choice([fact for fact in world if fact.relation == asked.relation and fact != asked])
    others = generator.sample([fact for fact in world if fact.relation != asked.relation], _CONTEXT_SENTENCES - 2)
    context = [asked, decoy, *others]
    generator.shuffle(context)
    return Reading(tuple(context), asked)


def _draw_summary(pool: Pool, generator: random.Random) -> Exercise:
    world = generator.choice(pool.people_in_worlds)
    of_person: dict[str, dict[str, Fact]] = {}
    for fact in world:
        of_person.setdefault(fact.subject, {})[fact.relation] = fact
    person = generator.choice([person for person, told in of_person.items() if told.keys() >= _SUMMARISED])
    further = [fact for fact in of_person[person].values() if fact.relation not in _SUMMARISED]
    others = generator.sample(further, min(1, len(further)))
    told = len(_SUMMARISED) + len(others)
    order = [*range(told), *(told + filler for filler in generator.sample(range(_FILLERS), 2))]
    generator.shuffle(order)
    return Summary(of_person[person]["profession"], of_person[person]["home"], tuple(others), tuple(order))


_DRAWN: dict[str, Callable[[Pool, random.Random], Exercise]] = {
    "XNLI": _draw_inference,
    "XStoryCloze": _draw_story_cloze,
    "MMMLU": _draw_multiple_choice,
    "MKQA": _draw_open_question,
    "XQuAD": _draw_reading,
    "XLSum": _draw_summary,
}
