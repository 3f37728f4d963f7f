"""What a written answer looks like, whether right or wrong: empty, copied from its prompt."""

from collections.abc import Sequence

from cc_tuning.evaluation.scorers import folded
from cc_tuning.text.icu import words

COPIED_RUN = 10
"""Words in a row that stand in the prompt in the same order; fewer are names, terms and set phrases."""
COPIED_SHARE = 0.5
"""The share of an answer's words that must lie in such runs."""


def is_empty(response: str) -> bool:
    """Whether `response` holds neither a letter nor a digit."""
    return not any(character.isalnum() for character in response)


def repeats_prompt(response: str, prompt: str, answers: Sequence[str]) -> bool:
    """Whether at least half of the words of `response` lie in runs of ten or more that `prompt` holds too.

    Words are ICU's, without case. A response that a gold answer holds whole is no repetition: the right answer to a
    question about a paragraph may be a long piece of it.
    """
    said = words(folded(response))
    if len(said) < COPIED_RUN:
        return False
    asked = _joined(words(folded(prompt)))
    copied = set[int]()
    for start in range(len(said) - COPIED_RUN + 1):
        if _joined(said[start : start + COPIED_RUN]) in asked:
            copied.update(range(start, start + COPIED_RUN))
    if len(copied) < COPIED_SHARE * len(said):
        return False
    return not any(_joined(said) in _joined(words(folded(answer))) for answer in answers)


def _joined(sequence: Sequence[str]) -> str:
    """Words with an edge around each, so that a run of whole words is a part of the text."""
    return "\n" + "".join(f"{word}\n" for word in sequence)
