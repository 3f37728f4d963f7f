"""Which script a text is written in, letter by letter, by the letters' names in Unicode."""

import unicodedata
from functools import cache

_LETTER_NAMES = {
    "Arab": ("ARABIC",), "Beng": ("BENGALI",), "Cyrl": ("CYRILLIC",), "Deva": ("DEVANAGARI",), "Ethi": ("ETHIOPIC",),
    "Grek": ("GREEK",), "Gujr": ("GUJARATI",), "Guru": ("GURMUKHI",), "Hang": ("HANGUL", "IDEOGRAPH"),
    "Hans": ("IDEOGRAPH",), "Hant": ("IDEOGRAPH",), "Jpan": ("HIRAGANA", "KATAKANA", "IDEOGRAPH"),
    "Knda": ("KANNADA",), "Latn": ("LATIN",), "Mlym": ("MALAYALAM",), "Mymr": ("MYANMAR",), "Sinh": ("SINHALA",),
    "Taml": ("TAMIL",), "Telu": ("TELUGU",), "Thai": ("THAI",),
}  # fmt: skip
"""What stands in the names of a script's letters, by ISO 15924 code: every script of `languages.csv`."""


def count_letters(text: str) -> int:
    """The number of characters that are letters of any script."""
    return sum(character.isalpha() for character in text)


def is_mostly_outside(text: str, script: str) -> bool:
    """Whether fewer than half of the letters belong to `script` (ISO 15924); no letters are not outside."""
    letters = [character for character in text if character.isalpha()]
    inside = sum(_belongs(letter, script) for letter in letters)
    return 2 * inside < len(letters)


@cache
def _belongs(letter: str, script: str) -> bool:
    name = unicodedata.name(letter, "")
    return any(part in name for part in _LETTER_NAMES[script])
