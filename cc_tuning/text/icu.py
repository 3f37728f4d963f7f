"""ICU's breaks of a text, as places and parts of a Python string, in whatever script.

ICU counts UTF-16 units, Python counts characters: an emoji or a rare Chinese character is two of the former.
"""

from collections.abc import Iterator

import icu

ICU_VERSION: str = icu.ICU_VERSION

_ANY_LOCALE = icu.Locale.getRoot()
_NOT_A_WORD = 100
"""Rule status below this is blanks, punctuation and symbols (ICU's UBRK_WORD_NONE_LIMIT)."""


def sentence_ends(text: str) -> list[int]:
    """Where sentences end, with the blanks that follow them, as indices of `text`; the last one is its length."""
    return [end for end, _ in _breaks(icu.BreakIterator.createSentenceInstance(_ANY_LOCALE), text)]


def line_break_ends(text: str) -> list[int]:
    """Where a line may be broken, which is between words, as indices of `text`; the last one is its length."""
    return [end for end, _ in _breaks(icu.BreakIterator.createLineInstance(_ANY_LOCALE), text)]


def grapheme_ends(text: str) -> list[int]:
    """Where graphemes (a letter with all its marks) end, as indices of `text`; the last one is its length."""
    return [end for end, _ in _breaks(icu.BreakIterator.createCharacterInstance(_ANY_LOCALE), text)]


def word_ends(text: str) -> list[int]:
    """Where each word of `text` ends, as indices of `text`."""
    return [end for _, end in _words(text)]


def words(text: str) -> list[str]:
    """The words of `text` in order, by dictionary where a script has no blanks; punctuation and blanks are none."""
    return [text[start:end] for start, end in _words(text)]


def _words(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for end, rule_status in _breaks(icu.BreakIterator.createWordInstance(_ANY_LOCALE), text):
        if rule_status >= _NOT_A_WORD:
            yield start, end
        start = end


def _breaks(iterator: "icu.BreakIterator", text: str) -> Iterator[tuple[int, int]]:
    """The end of each of the iterator's parts as an index of `text`, with the part's rule status."""
    iterator.setText(icu.UnicodeString(text))
    index_of_unit = range(len(text) + 1) if not text or max(text) <= "\uffff" else _index_of_unit(text)
    for end in iterator:
        yield index_of_unit[end], iterator.getRuleStatus()


def _index_of_unit(text: str) -> dict[int, int]:
    """The index of each character, and of the end, by the number of UTF-16 units before it."""
    index_of_unit = {0: 0}
    units = 0
    for index, character in enumerate(text, start=1):
        units += 2 if character > "\uffff" else 1
        index_of_unit[units] = index
    return index_of_unit
