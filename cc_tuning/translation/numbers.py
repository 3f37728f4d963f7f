"""The numbers of a text and of its translation, in one form, so that they can be compared across scripts and habits.

    "10,000" = "10.000" = "10 000" = "१०,०००" = "1万" = 1        "3,5" = "3.5" = 35

Separators go, and zeros at either end go with them: what a language counts by (thousands, lakhs, 万) is then the same
number, and so is "2.5 million" beside "2,500,000". That two different numbers may meet is accepted: the rule is there
to find hallucinated and forgotten ones.
"""

import re
import unicodedata

_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)|\d+(?:[.,'’٫٬]\d+)*")
_SEPARATOR = re.compile(r"[.,'’٫٬ \u00a0\u202f]")
_COUNTED_IN_WORDS = 12
"""Months, hours and small counts, which one language writes with a digit and another with a word."""
_HAN_NUMERALS = re.compile("[〇零一二三四五六七八九十百千万萬亿億两兩廿卅]{2}")
_ROMAN_NUMERALS = re.compile(r"\b[IVXLCDM]{2,}")


def lost_numbers(source: str, translation: str) -> set[str]:
    """The numbers of the source that its translation does not have, save those that are often written as words."""
    return _telling(source) - _all(translation)


def invented_numbers(source: str, translation: str) -> set[str]:
    """The numbers of the translation that the source does not have, save those that are often written as words.

    Where the source has Han or Roman numerals nothing is said: they become digits in many languages.
    """
    return set() if has_numerals_of_letters(source) else _telling(translation) - _all(source)


def has_numerals_of_letters(text: str) -> bool:
    """Whether some letters may be a number: two Han numerals in a row, or a word of Roman ones."""
    return bool(_HAN_NUMERALS.search(text) or _ROMAN_NUMERALS.search(text))


def _all(text: str) -> set[str]:
    return {_significant(number) for number in _numbers(text)}


def _telling(text: str) -> set[str]:
    """Numbers that are rarely written as words: above twelve, and more than one digit and zeros."""
    return {
        significant
        for number in _numbers(text)
        if int(number) > _COUNTED_IN_WORDS and len(significant := _significant(number)) > 1
    }


def _numbers(text: str) -> list[str]:
    """The digits of each number in ASCII; a date or a list written with separators is several numbers."""
    numbers: list[str] = []
    for found in _NUMBER.finditer(text):
        parts = _SEPARATOR.split("".join(_ascii(character) for character in found[0]))
        numbers += ["".join(parts)] if _is_one_number(parts) else parts
    return numbers


def _is_one_number(parts: list[str]) -> bool:
    *inner, last = parts[1:] or [""]
    if len(parts) <= 2:
        return True
    return all(len(part) == 3 for part in inner) or (all(len(part) in (2, 3) for part in inner) and len(last) == 3)


def _ascii(character: str) -> str:
    return str(unicodedata.decimal(character)) if character.isdecimal() else character


def _significant(number: str) -> str:
    return number.strip("0") or "0"
