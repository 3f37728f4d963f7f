"""The number that an answer gives to a problem, in the digits and separators of its language.

It is the last number of the last `\\boxed{}`, or of the answer. Digits of every script count. `1,234` is one thousand
and more in every language, since models write English numbers everywhere and no gold answer has three decimals; `1.234`
and `1 234` are so where the comma is the decimal sign. Number words and 万, 億, 만 are not read.
"""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import regex

from cc_tuning.evaluation.measures.choices import after_reasoning, boxed
from cc_tuning.evaluation.scorers import normalised, with_ascii_digits

_COMMA_LANGUAGES = frozenset(
    {"bg", "da", "de", "el", "es", "eu", "fi", "fr", "hu", "id", "it", "nl", "no", "pl", "pt", "ro", "ru", "sv", "tr"}
    | {"uk", "vi"}
)
"""Languages whose decimal sign is a comma."""
_SEPARATED = r"(?:(?<![\w.,)])\.)?\d+(?:[.,']\d+)*"
_GROUPED_BY_BLANKS = r"\d{1,3}(?: \d{3})+(?:,\d+)?(?!\d)"
_NEGATIVE = r"(?<![\p{L}\d_.,)])-"
_NUMBER = regex.compile(rf"(?:{_NEGATIVE})?{_SEPARATED}")
_NUMBER_WITH_BLANKS = regex.compile(rf"(?:{_NEGATIVE})?(?:(?<!\d){_GROUPED_BY_BLANKS}|{_SEPARATED})")
_ARABIC = str.maketrans({"٫": ".", "٬": ",", "−": "-", "’": "'"})
_DECIMAL_SIGNS_IN_TEX = regex.compile(r"\{,\}|\\,|\\!")
_EXPONENTS = regex.compile(r"(?<=\w)(?:\^\{?-?\d+\}?|[⁰¹²³⁴-⁹₀-₉]+)")
"""Behind a unit or a number (`35 m²`, `35 m^2`); NFKC would make ordinary digits of the raised ones."""


def extract_number(response: str, language: str) -> Decimal | None:
    """The number that `response` gives, None where it holds none."""
    answer = after_reasoning(response)
    inside = boxed(answer)
    for text in (inside, answer):
        found = _numbers(text, language) if text is not None else []
        if found:
            return found[-1]
    return None


def gold_numbers(answers: Sequence[str]) -> set[Decimal]:
    """The numbers of gold answers, which are written as in English in every language."""
    return {number for answer in answers for number in _numbers(answer, "en")[-1:]}


def _numbers(text: str, language: str) -> list[Decimal]:
    plain = with_ascii_digits(normalised(_EXPONENTS.sub("", _DECIMAL_SIGNS_IN_TEX.sub("", text)))).translate(_ARABIC)
    pattern = _NUMBER_WITH_BLANKS if language in _COMMA_LANGUAGES else _NUMBER
    values = (_value(match, language) for match in pattern.findall(plain))
    return [value for value in values if value is not None]


def _value(number: str, language: str) -> Decimal | None:
    """`1.234,5`, `1,234.5`, `12 345` or `1,00,000` as a number; None for what is none, such as `1.2.3`."""
    digits = number.replace(" ", "").replace("'", "")
    signs = [sign for sign in digits if sign in ".,"]
    if len(set(signs)) == 2:
        decimal = signs[-1]
        if signs.count(decimal) > 1:
            return None
    elif not signs or _is_grouping(digits, signs[0], language):
        decimal = ""
    else:
        decimal = signs[0]
    grouped = "." if decimal == "," else ","
    plain = digits.replace(grouped, "").replace(decimal, ".") if decimal else digits.replace(".", "").replace(",", "")
    try:
        return Decimal(plain)
    except InvalidOperation:
        return None


def _is_grouping(digits: str, sign: str, language: str) -> bool:
    """Whether the only kind of sign in `digits` parts thousands (lakhs) and is no decimal sign."""
    first, *groups = digits.lstrip("-").split(sign)
    if not all(len(group) == 3 for group in groups[-1:]) or first in ("", "0") or len(first) > 3:
        return False
    return len(groups) > 1 or sign == "," or language in _COMMA_LANGUAGES
