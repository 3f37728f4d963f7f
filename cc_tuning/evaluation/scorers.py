"""When an answer is right, by the paper's rules (Ye et al. 2025, appendix A.2.2; its code has no scorer).

- Multiple choice: the response contains the right option and none of the others.
- Question answering: a gold answer appears in the response.
- Summaries: ROUGE-L, two figures (`cc_tuning.evaluation.measures.summaries`).

What the paper leaves open is settled here, the same for every language:

*Both sides* are put in NFKC (full-width and circled forms become plain), lose their invisible format characters
(byte-order marks, directional marks, joiners: category Cf), and runs of white space become one blank.
*Options* are single characters. One counts wherever it stands alone: `1`, `(1)`, `1.`, `选项1`, `Ａ`, `①`, and decimal
digits of any script (`١`, `२`). It does not count inside a number (`12`, `1.5`, `2,000`, `3:1`) or a word (`1st`,
`Band`, `U.S.A`). Scripts without letter case are not words in this sense: they join the option to particles without a
blank (`답은 2번입니다`). Letters are case-sensitive: a lower-case `a` is a word in English, Spanish and Portuguese.
*Gold answers* are compared without case, anywhere in the response; a number stored as `3.0` is not met by `3`, and
`1969` not by `١٩٦٩`: an answer is text to the paper, and published figures count it so. The measure
`accuracy_any_digits` stands beside it and reads digits of every script alike.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache

import regex

_SPACES = regex.compile(r"\s+")
_CASED = r"\p{Lu}\p{Ll}\p{Lt}"
# Between digits these make one number, ratio or date; between letters one word.
_DIGIT_JOINTS = r".,:/\-–'⁄٫٬"
_LETTER_JOINTS = r"\-–/&"


class _WithoutFormat(dict[int, int | None]):
    """For `str.translate`: every character stays but those of the category Cf; each is looked up once."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code)) == "Cf" else code
        return self[code]


_WITHOUT_FORMAT = _WithoutFormat()


def normalised(text: str) -> str:
    """`text` in NFKC, without format characters, with single blanks and none at the ends."""
    visible = unicodedata.normalize("NFKC", text).translate(_WITHOUT_FORMAT)
    return _SPACES.sub(" ", visible).strip()


def chooses_only(response: str, answer: str, options: Sequence[str]) -> bool:
    """Whether `response` contains the option `answer` and no other of `options` (single characters)."""
    return mentioned_options(response, options) == {answer}


def mentioned_options(response: str, options: Sequence[str]) -> set[str]:
    """The options that stand alone somewhere in `response`."""
    text = with_ascii_digits(normalised(response))
    return {option for option in options if _option_pattern(option).search(text)}


def contains_gold(response: str, answers: Sequence[str], *, any_digits: bool = False) -> bool:
    """Whether one of `answers` appears in `response`, without regard to case; an empty answer never does.

    `any_digits` reads the decimal digits of every script alike, which the paper does not speak of.
    """
    text, *golds = (with_ascii_digits(folded(each)) if any_digits else folded(each) for each in (response, *answers))
    return any(gold in text for gold in golds if gold)


def folded(text: str) -> str:
    """`text` normalised and without case; the four Turkish i are one letter.

    Unicode folds `I` to `i` in every language and `İ` to an `i` with a dot of its own. Case folding can undo NFKC, so
    it stands between two normalisations.
    """
    folded = normalised(normalised(text).casefold())
    return folded.replace("i\u0307", "i").replace("ı", "i")


@cache
def _option_pattern(option: str) -> regex.Pattern[str]:
    """Finds `option` where it is neither part of a number nor of a word."""
    alone = rf"(?<![{_CASED}\p{{N}}_]){regex.escape(option)}(?![{_CASED}\p{{N}}_])"
    if option.isdecimal():
        return regex.compile(rf"(?<!\d[{_DIGIT_JOINTS}]){alone}(?![{_DIGIT_JOINTS}]\d)")
    # `U.S.A` and `D.C.` are abbreviations, `B.Paris` is an option and its text.
    abbreviation_before = rf"(?<!(?<![{_CASED}])[{_CASED}]\.)"
    abbreviation_after = rf"(?!\.[{_CASED}](?![{_CASED}]))"
    return regex.compile(
        rf"(?<![{_CASED}\d][{_LETTER_JOINTS}]){abbreviation_before}{alone}"
        rf"{abbreviation_after}(?![{_LETTER_JOINTS}][{_CASED}\d])"
    )


def with_ascii_digits(text: str) -> str:
    """`text` with the decimal digits of every script as 0 to 9."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(character)) if character.isdecimal() else character for character in text)
