"""A judge that is a fixed rule, so that a recipe with win rates runs without a network.

Of two answers the better one is the one that is not empty; of two such, the one in the language of the instruction; of
two such, the one that holds a reference answer. Otherwise neither is. It knows nothing of style or truth: its win rates
say that the machinery works, and whether a run answers in the right language.
"""

from collections.abc import Sequence

from cc_tuning.evaluation.judge.verdicts import Winner
from cc_tuning.evaluation.measures.behaviour import is_empty
from cc_tuning.evaluation.measures.language import is_in_language
from cc_tuning.evaluation.scorers import contains_gold

RULE = "not empty, then in the language, then holds a reference answer"


def judged_by_rule(first: str, second: str, language: str, references: Sequence[str]) -> Winner:
    """The better of two answers by the rule; `language` is ISO 639-1."""
    points = [_points(answer, language, references) for answer in (first, second)]
    if points[0] == points[1]:
        return "tie"
    return "first" if points[0] > points[1] else "second"


def _points(answer: str, language: str, references: Sequence[str]) -> tuple[bool, bool, bool]:
    if is_empty(answer):
        return (False, False, False)
    # A short answer's language cannot be told; it is not held against it.
    return (True, is_in_language(answer, language) is not False, contains_gold(answer, references))
