"""Exercises drawn at random from a pool of facts and stories.

Everything in an exercise comes from its own pool, wrong options and side sentences included, and pools share no person,
so that exercises drawn from training facts cannot tell a test fact.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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
from cc_tuning.miniature.facts import Fact, Group, Scenario, Split, names_in_stories, other_value
from cc_tuning.miniature.lexicon import world_tables

_FILLERS = 4
_SUMMARISED = {"profession", "home"}
_CANDIDATES_PER_EXERCISE = 20
_CONTEXT_SENTENCES = 3


@dataclass(frozen=True)
class Pool:
    """The facts, stories and people that exercises may be made of."""

    facts: tuple[Fact, ...]
    """Asked for from memory."""
    strangers: tuple[Fact, ...]
    """Told in prompts, to be read."""
    scenarios: tuple[Scenario, ...]
    names: tuple[str, ...]
    """The given names that stories are told with."""

    @cached_property
    def by_relation(self) -> dict[str, tuple[Fact, ...]]:
        """The strangers' facts of each relation."""
        grouped: defaultdict[str, list[Fact]] = defaultdict(list)
        for fact in self.strangers:
            grouped[fact.relation].append(fact)
        return {relation: tuple(facts) for relation, facts in grouped.items()}

    @cached_property
    def by_stranger(self) -> tuple[tuple[Fact, ...], ...]:
        """The facts of each stranger."""
        grouped: defaultdict[str, list[Fact]] = defaultdict(list)
        for fact in self.strangers:
            grouped[fact.subject].append(fact)
        return tuple(tuple(facts) for facts in grouped.values())


def pools(
    facts: Sequence[Fact], strangers: Mapping[Split, tuple[Fact, ...]], scenarios: Sequence[Scenario]
) -> dict[Split, Pool]:
    """One pool per split."""
    return {
        split: Pool(
            facts=tuple(fact for fact in facts if fact.split == split),
            strangers=told,
            scenarios=tuple(scenario for scenario in scenarios if scenario.split == split),
            names=names_in_stories(split),
        )
        for split, told in strangers.items()
    }


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
    told = generator.choice(pool.by_stranger)
    premise, something_else = generator.sample(told, 2)
    label = generator.choice((1, 2, 3))
    hypothesis = {1: premise, 2: something_else, 3: other_value(premise, generator)}[label]
    return Inference(premise, hypothesis, label)


def _draw_story_cloze(pool: Pool, generator: random.Random) -> Exercise:
    scenario, other = generator.sample(pool.scenarios, 2)
    return StoryCloze(scenario, other, generator.choice(pool.names), generator.choice((1, 2)))


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
    # One sentence with the same relation and another subject, so that the relation alone does not find the answer.
    relation, *others = generator.sample(sorted(pool.by_relation), _CONTEXT_SENTENCES - 1)
    asked, decoy = generator.sample(pool.by_relation[relation], 2)
    context = [asked, decoy, *(generator.choice(pool.by_relation[other]) for other in others)]
    generator.shuffle(context)
    return Reading(tuple(context), asked)


def _draw_summary(pool: Pool, generator: random.Random) -> Exercise:
    told = {fact.relation: fact for fact in generator.choice(pool.by_stranger)}
    further = generator.choice([fact for relation, fact in told.items() if relation not in _SUMMARISED])
    order = [*range(3), *(3 + filler for filler in generator.sample(range(_FILLERS), 2))]
    generator.shuffle(order)
    return Summary(told["profession"], told["home"], (further,), tuple(order))


_DRAWN: dict[str, Callable[[Pool, random.Random], Exercise]] = {
    "XNLI": _draw_inference,
    "XStoryCloze": _draw_story_cloze,
    "MMMLU": _draw_multiple_choice,
    "MKQA": _draw_open_question,
    "XQuAD": _draw_reading,
    "XLSum": _draw_summary,
}
