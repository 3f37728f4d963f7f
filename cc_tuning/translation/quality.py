"""What can be seen to be wrong with a segment's English without knowing either language well.

Each flag is one function with its rule; a flag is a suspicion, never a proof. The bounds were set on 6,680 professional
translations in 62 languages, of which well under one in a hundred is flagged by any rule but `numbers`. No reference,
no model but a language identifier, no randomness: the same segment has the same flags everywhere.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from cc_tuning.languages import Language
from cc_tuning.translation.numbers import invented_numbers, lost_numbers

COPIED_LETTERS = 24
COPIED_WORDS = 4
"""A copy in Latin letters needs so many of both: names, titles and formulas are the same in English."""
JUDGED_LETTERS = 30
"""Letters below which a language identifier guesses."""
SURE_PROBABILITY = 0.6
"""From where on its answer counts."""
LONGEST_LOOP_WORDS = 20
LOOP_TIMES = 3
LOOP_WORDS = 6
"""A loop is at most 20 words long, comes at least three times in a row, and fills at least six words."""
LENGTH_SLACK = 20
"""Characters by which the English may be outside its band, so that short segments are not judged by ratio."""
LENGTH_BANDS = {
    "Hans": (0.8, 6.0), "Hant": (0.8, 6.0), "Jpan": (0.8, 6.0), "Hang": (0.8, 6.0), "Ethi": (0.5, 3.0),
}  # fmt: skip
"""English characters per source character, at least and at most, by script (ISO 15924)."""
OTHER_BAND = (0.33, 2.5)

PENALTIES = {
    "empty": 1.0, "copied": 1.0, "not_english": 0.75, "repetition": 0.75, "length_ratio": 0.5, "numbers": 0.25,
}  # fmt: skip
"""What a flag takes from a segment's score."""

# English of a kind, as far as a training text is concerned.
_ENGLISH_LABELS = frozenset({"en", "pcm", "sco"})


@dataclass(frozen=True)
class Segment:
    """A piece of prose beside its English."""

    source: str
    english: str
    language: Language
    """Of the source."""


def flags_of(segment: Segment) -> tuple[str, ...]:
    """The names of the rules that the segment breaks, sorted; of an empty one nothing else can be said."""
    if is_empty(segment):
        return ("empty",)
    return tuple(name for name, is_broken in _RULES.items() if is_broken(segment))


def segment_score(flags: Iterable[str]) -> float:
    """1 less the penalties of the flags, at least 0; 1 is a segment without any."""
    return max(0.0, 1.0 - sum(PENALTIES[flag] for flag in flags))


def mean_score(scores: Sequence[float], weights: Sequence[int]) -> float:
    """The mean of the segments' scores by `weights` (characters of their sources); 1 for a text without prose."""
    total = sum(weights)
    if not total:
        return 1.0
    # Rounded, since the sum's last digits would depend on the order of the segments.
    return round(sum(score * weight for score, weight in zip(scores, weights, strict=True)) / total, 6)


def is_empty(segment: Segment) -> bool:
    """The translator said nothing: its answer has no character but white space."""
    return not segment.english.strip()


def is_copied(segment: Segment) -> bool:
    """The English is the source again, apart from case and spacing.

    In a script other than Latin two letters are enough. In Latin it needs `COPIED_LETTERS` letters in `COPIED_WORDS`
    words, and a source that is English itself is rightly left as it is.
    """
    if _plain(segment.source) != _plain(segment.english):
        return False
    if _is_mostly_not_latin(segment.source):
        return _letters(segment.source) >= 2
    is_long = _letters(segment.source) >= COPIED_LETTERS and len(segment.source.split()) >= COPIED_WORDS
    return is_long and identified_language(segment.source) not in _ENGLISH_LABELS


def is_not_english(segment: Segment) -> bool:
    """The answer is in another language.

    Either most of its letters (three at least) are not Latin; or it has `JUDGED_LETTERS` letters and a language
    identifier says something else than English with a probability of at least `SURE_PROBABILITY`.
    """
    if _letters(segment.english) >= 3 and _is_mostly_not_latin(segment.english):
        return True
    return identified_language(segment.english) not in {"", *_ENGLISH_LABELS}


def is_repetition(segment: Segment) -> bool:
    """The English loops and the source does not.

    A loop is a run of at most `LONGEST_LOOP_WORDS` words that comes `LOOP_TIMES` times in a row or more and fills at
    least `LOOP_WORDS` words. A word without a space in 30 characters, and a source, are also searched by letter.
    """
    words = segment.english.casefold().split()
    if not (_loops(words) or any(len(word) > 30 and _loops(word) for word in words)):
        return False
    source = segment.source.casefold()
    return not (_loops(source.split()) or _loops([letter for letter in source if not letter.isspace()]))


def is_length_unlikely(segment: Segment) -> bool:
    """The English is longer or shorter than the source's script lets expect.

    low · source − slack ≤ English ≤ high · source + slack, in characters, with the band of `LENGTH_BANDS`.
    """
    low, high = LENGTH_BANDS.get(segment.language.script, OTHER_BAND)
    source, english = len(segment.source), len(segment.english)
    return not low * source - LENGTH_SLACK <= english <= high * source + LENGTH_SLACK


def are_numbers_changed(segment: Segment) -> bool:
    """A number of the source is not in the English, or one of the English is not in the source.

    Digits of every script count as the same, and numbers are compared without separators and zeros at either end
    (`translation/numbers.py`), so that thousands, lakhs and 万 agree. What is often written as a word is not missed.
    """
    return bool(lost_numbers(segment.source, segment.english) or invented_numbers(segment.source, segment.english))


_RULES: dict[str, Callable[[Segment], bool]] = {
    "copied": is_copied,
    "length_ratio": is_length_unlikely,
    "not_english": is_not_english,
    "numbers": are_numbers_changed,
    "repetition": is_repetition,
}


def identified_language(text: str) -> str:
    """The code that py3langid is sure of; empty where the text is too short for it or it is not."""
    if _letters(text) < JUDGED_LETTERS:
        return ""
    label, probability = _identifier().classify(text)
    return str(label) if probability >= SURE_PROBABILITY else ""


@cache
def _identifier() -> LanguageIdentifier:
    """Read once (half a second), and only where segments are checked."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _loops(units: Sequence[str]) -> bool:
    for length in range(1, min(LONGEST_LOOP_WORDS, len(units) // LOOP_TIMES) + 1):
        # How many units in a row equal the one `length` before them: k of them are k + length units of a loop.
        needed = max(LOOP_TIMES * length, LOOP_WORDS) - length
        in_a_row = 0
        for earlier, later in zip(units, units[length:], strict=False):
            in_a_row = in_a_row + 1 if earlier == later else 0
            if in_a_row >= needed:
                return True
    return False


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _letters(text: str) -> int:
    return sum(character.isalpha() for character in text)


def _is_mostly_not_latin(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    latin = sum(_is_latin(letter) for letter in letters)
    return 2 * latin < len(letters)


@cache
def _is_latin(letter: str) -> bool:
    return "LATIN" in unicodedata.name(letter, "")
