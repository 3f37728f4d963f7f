"""Sentences of a line, none longer than the translator takes, and not one character lost.

NLLB was trained on single sentences and drops what follows the first when it is given several, so a line is cut first.
`sentencex` knows the abbreviations of many languages; ICU cuts the scripts that it leaves whole (Thai, Khmer, Lao,
Burmese) and stands in wherever sentencex would change the text. A sentence above the token budget is halved where a
reader would pause, again and again.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

import icu
import sentencex

from cc_tuning.text.languages import Language

TokenCounter = Callable[[Sequence[str]], list[int]]
"""The number of the translator's tokens of each text, without language and end tokens."""

_ICU_SCRIPTS = frozenset({"Thai", "Khmr", "Laoo", "Mymr"})
_PAUSES = frozenset(",;:،؛、，；：。．.!?！？।॥။၊។")
_ANY_LOCALE = icu.Locale.getRoot()


def split_sentences(text: str, language: Language) -> list[str]:
    """The sentences of `text`, each with the whitespace that follows it; joined they are `text` again."""
    if language.script not in _ICU_SCRIPTS:
        sentences: list[str] = sentencex.segment(language.iso639_1 or language.aya_code, text)
        if "".join(sentences) == text:
            return sentences
    return _cut(text, _boundaries(icu.BreakIterator.createSentenceInstance(_ANY_LOCALE), text))


def fit_token_budget(sentences: Sequence[str], max_tokens: int, count_tokens: TokenCounter) -> list[str]:
    """`sentences`, each one above `max_tokens` cut into parts that fit; joined they are the same text.

    Only a single grapheme (a letter with all its marks) is never cut, whatever its number of tokens.
    """
    fitting: list[str] = []
    for sentence, tokens in zip(sentences, count_tokens(sentences), strict=True):
        middle = _best_cut(sentence) if tokens > max_tokens else None
        if middle is None:
            fitting.append(sentence)
        else:
            fitting += fit_token_budget([sentence[:middle], sentence[middle:]], max_tokens, count_tokens)
    return fitting


def _best_cut(sentence: str) -> int | None:
    """Where to halve a sentence: after a pause, else between words, else between graphemes; None if it is one."""
    low, high = len(sentence) // 4, 3 * len(sentence) // 4
    lines = _boundaries(icu.BreakIterator.createLineInstance(_ANY_LOCALE), sentence)
    # Cuts stay in the middle half, so that halving a sentence of N characters takes O(log N) rounds.
    words = [place for place in lines if low < place <= high and place < len(sentence)]
    pauses = [place for place in words if _last_letter(sentence, place) in _PAUSES]
    if pauses or words:
        return _nearest(pauses or words, len(sentence) // 2)
    graphemes = _boundaries(icu.BreakIterator.createCharacterInstance(_ANY_LOCALE), sentence)[:-1]
    return _nearest(graphemes, len(sentence) // 2) if graphemes else None


def _last_letter(text: str, end: int) -> str:
    while end > 1 and text[end - 1].isspace():
        end -= 1
    return text[end - 1]


def _nearest(places: Sequence[int], target: int) -> int:
    """The place closest to `target`; `places` is sorted and not empty."""
    right = bisect_left(places, target)
    return min(places[max(right - 1, 0) : right + 1], key=lambda place: abs(place - target))


def _boundaries(iterator: "icu.BreakIterator", text: str) -> list[int]:
    """The ends of the iterator's parts as indices of `text`, the last one being its length."""
    iterator.setText(icu.UnicodeString(text))
    ends: Iterable[int] = iterator
    if not text or max(text) <= "\uffff":
        return list(ends)
    # ICU counts UTF-16 units, Python counts characters: an emoji is two of the former.
    index_of_unit = {0: 0}
    units = 0
    for index, character in enumerate(text, start=1):
        units += 2 if character > "\uffff" else 1
        index_of_unit[units] = index
    return [index_of_unit[end] for end in ends]


def _cut(text: str, ends: Sequence[int]) -> list[str]:
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
