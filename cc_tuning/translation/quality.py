"""Faults of a segment's translation that can be seen without knowing either language well.

Each flag is one function with its rule; a flag is a suspicion, never a proof. The bounds were set on 6,680 professional
translations in 62 languages, of which well under one in a hundred is flagged by any rule but `numbers`. No reference,
no model but a language identifier, no randomness: the same segment has the same flags everywhere.

The rules hold in both directions. Whether a text and its English fit together in length does not depend on which of the
two was translated, and two languages that are both not English are compared by the English that either could have.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from cc_tuning.text.languages import Language, count_letters, is_mostly_outside
from cc_tuning.translation.numbers import has_numerals_of_letters, invented_numbers, lost_numbers

COPIED_LETTERS = 24
COPIED_WORDS = 4
"""A copy between languages of one script needs so many of both: names, titles and formulas are the same in both."""
JUDGED_LETTERS = 30
"""Letters below which a language identifier guesses."""
SURE_PROBABILITY = 0.6
"""The probability from which on its answer counts."""
LONGEST_LOOP_WORDS = 20
LOOP_TIMES = 3
LOOP_WORDS = 6
"""A loop is at most 20 words long, comes at least three times in a row, and fills at least six words."""
LENGTH_SLACK = 20
"""Characters by which a length may be outside its band, so that short segments are not judged by ratio."""
LENGTH_BANDS = {
    "Hans": (0.8, 6.0), "Hant": (0.8, 6.0), "Jpan": (0.8, 6.0), "Hang": (0.8, 6.0), "Ethi": (0.5, 3.0),
}  # fmt: skip
"""English characters per character of another language, at least and at most, by script (ISO 15924)."""
OTHER_BAND = (0.33, 2.5)

PENALTIES = {
    "empty": 1.0, "copied": 1.0, "not_english": 0.75, "wrong_language": 0.75, "repetition": 0.75, "length_ratio": 0.5,
    "numbers": 0.25,
}  # fmt: skip
"""The part of a segment's score that a flag takes."""

_NEAR_LABELS = {
    "ar": {"ary", "arz"}, "en": {"pcm", "sco"}, "id": {"ms"}, "ku": {"sdh"}, "ms": {"id"}, "xh": {"zu"},
    "zh": {"wuu", "yue"}, "zu": {"xh"},
}  # fmt: skip
"""Labels that py3langid also gives to a language (ISO 639-1): one that it takes for a near one, and varieties of it."""


@dataclass(frozen=True)
class Segment:
    """A piece of prose beside its translation."""

    source: str
    translation: str
    source_language: Language
    target_language: Language


def flags_of(segment: Segment) -> tuple[str, ...]:
    """The names of the rules that the segment breaks, sorted; of an empty one nothing else can be said.

    An answer in another language is `not_english` where English was asked for, otherwise `wrong_language`.
    """
    if is_empty(segment):
        return ("empty",)
    rules = _RULES | {"not_english" if segment.target_language.is_english else "wrong_language": is_in_wrong_language}
    return tuple(sorted(name for name, is_broken in rules.items() if is_broken(segment)))


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
    return not segment.translation.strip()


def is_copied(segment: Segment) -> bool:
    """The translation is the source again, apart from case and spacing.

    Where the source is not in the script of the target language, two letters are enough. In its script it needs
    `COPIED_LETTERS` letters in `COPIED_WORDS` words, and a source that is in the target language already is rightly
    left as it is.
    """
    source, target = segment.source, segment.target_language
    if _plain(source) != _plain(segment.translation):
        return False
    if is_mostly_outside(source, target.script):
        return count_letters(source) >= 2
    is_long = count_letters(source) >= COPIED_LETTERS and len(source.split()) >= COPIED_WORDS
    return is_long and identified_language(source) not in _labels(target)


def is_in_wrong_language(segment: Segment) -> bool:
    """The answer is not in the target language.

    Either most of its letters (three at least) are not of the language's script; or it has `JUDGED_LETTERS` letters
    and a language identifier says another language with a probability of at least `SURE_PROBABILITY`. A language that
    the identifier does not know is judged by its script alone.
    """
    answer, target = segment.translation, segment.target_language
    if count_letters(answer) >= 3 and is_mostly_outside(answer, target.script):
        return True
    labels = _labels(target)
    return bool(labels) and identified_language(answer) not in {"", *labels}


def is_repetition(segment: Segment) -> bool:
    """The translation loops and the source does not.

    A loop is a run of at most `LONGEST_LOOP_WORDS` words that comes `LOOP_TIMES` times in a row or more and fills at
    least `LOOP_WORDS` words. A word without a space in 30 characters, and a source, are also searched by letter.
    """
    words = segment.translation.casefold().split()
    if not (_loops(words) or any(len(word) > 30 and _loops(word) for word in words)):
        return False
    source = segment.source.casefold()
    return not (_loops(source.split()) or _loops([letter for letter in source if not letter.isspace()]))


def is_length_unlikely(segment: Segment) -> bool:
    """No English text would fit both the source and the translation by its length.

    low · text − slack ≤ English ≤ high · text + slack, in characters, with the band of the text's script in
    `LENGTH_BANDS`; English itself is as long as it is.
    """
    low, high = _english_lengths(segment.source, segment.source_language)
    lowest, highest = _english_lengths(segment.translation, segment.target_language)
    return highest < low or lowest > high


def are_numbers_changed(segment: Segment) -> bool:
    """A number of the source is not in the translation, or one of the translation is not in the source.

    Digits of every script count as the same, and numbers are compared without separators and zeros at either end
    (`translation/numbers.py`), so that thousands, lakhs and 万 agree. What is often written as a word is not missed.
    """
    source, translation = segment.source, segment.translation
    if invented_numbers(source, translation):
        return True
    # English writes digits; in other languages Han or Roman numerals may stand for them.
    may_be_letters = not segment.target_language.is_english and has_numerals_of_letters(translation)
    return not may_be_letters and bool(lost_numbers(source, translation))


_RULES: dict[str, Callable[[Segment], bool]] = {
    "copied": is_copied,
    "length_ratio": is_length_unlikely,
    "numbers": are_numbers_changed,
    "repetition": is_repetition,
}


def identified_language(text: str) -> str:
    """The code that py3langid is sure of; empty where the text is too short for it or it is not."""
    if count_letters(text) < JUDGED_LETTERS:
        return ""
    label, probability = _identifier().classify(text)
    return str(label) if probability >= SURE_PROBABILITY else ""


@cache
def _labels(language: Language) -> frozenset[str]:
    """The codes that the identifier may give to a text of this language; none where it does not know the language."""
    code = language.iso639_1
    return frozenset({code, *_NEAR_LABELS.get(code, ())}) if code in _identifier().nb_classes else frozenset()


@cache
def _identifier() -> LanguageIdentifier:
    """The language identifier, read once (half a second), and only where segments are checked."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _english_lengths(text: str, language: Language) -> tuple[float, float]:
    length = len(text)
    if language.is_english:
        return length, length
    low, high = LENGTH_BANDS.get(language.script, OTHER_BAND)
    return low * length - LENGTH_SLACK, high * length + LENGTH_SLACK


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
