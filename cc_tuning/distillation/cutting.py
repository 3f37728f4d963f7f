"""The beginning of a text, and the rest of it; in words of whatever language it is."""

import icu

_WORD = 100
"""Rule status from which on a part is a word and not blanks or punctuation (ICU's UBRK_WORD_NONE_LIMIT)."""
LEAST_WORDS = 2
"""Of each part; a text of fewer than twice as many has nothing to be continued."""


def cut_in_two(text: str, share: float) -> tuple[str, str] | None:
    """The beginning of `text` with about `share` of its words, and the rest; None where a part would be too short.

    Words are those of ICU, which knows languages that are written without blanks. No part is a part of a word, and the
    white space between the two is in neither.
    """
    ends = word_ends(text)
    shown = min(max(round(share * len(ends)), LEAST_WORDS), len(ends) - LEAST_WORDS)
    if shown < LEAST_WORDS:
        return None
    # What follows the last word shown, a comma as a rule, belongs to it; a blank to neither.
    end = ends[shown - 1]
    while end < len(text) and not text[end].isspace() and not text[end].isalnum():
        end += 1
    beginning, rest = text[:end].strip(), text[end:].strip()
    return (beginning, rest) if beginning and rest else None


def word_ends(text: str) -> list[int]:
    """Where each word of `text` ends."""
    breaks = icu.BreakIterator.createWordInstance(icu.Locale.getRoot())  # holds state: one per text
    breaks.setText(text)
    # ICU counts UTF-16 units, Python counts characters: an emoji is two of the former.
    index_of_unit, units = {0: 0}, 0
    for index, character in enumerate(text, start=1):
        units += 2 if character > "\uffff" else 1
        index_of_unit[units] = index
    return [index_of_unit[end] for end in breaks if breaks.getRuleStatus() >= _WORD]
