"""Where an answer writes the label of an option: `B`, `(b)`, `2번`, `Answer: ख`.

A label is plain where the prompt wrote it so (`B`, `2`). Letters of other alphabets and small letters are words too
often (Russian `А`, `В`, Korean `가`, English `a`), so one of them counts only where a bracket, a point or the end
follows.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import regex

from cc_tuning.evaluation.measures.choice_words import (
    ANSWER_STEMS,
    ENDS,
    JOINS,
    LETTERS_OF_OPTIONS,
    LINKS,
    NOT_AFTER,
    NOT_BEFORE,
    OPTION_STEMS,
    WORDS_AFTER_A,
)
from cc_tuning.evaluation.scorers import normalised

_CASED = r"\p{Lu}\p{Ll}\p{Lt}"
_OPEN, _CLOSE = r"[(\[{（【「『<«\"'“‘]", r"[)\]}）】」』>»\"'”’]"
_LINE_START, _LINE_END = r"^[^\w\n]{0,8}", r"[^\w\n]{0,8}$"
_MOST_LINKS = 16
"""Bounds, since models repeat themselves for thousands of tokens and no pattern may search them over and over."""
_ENDING = r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{Bengali}\p{Devanagari}\p{Telugu}\p{M}]{1,12}+"
"""What a stem grows in scripts with blanks; in the others the next word follows without one."""


class Labels:
    """Finds the labels of some options in a text of normalised lines with ASCII digits."""

    def __init__(self, options: tuple[str, ...]) -> None:
        capitals = [option for option in options if option.isascii() and option.isupper()]
        self._option_of = {option: option for option in options} | {option.lower(): option for option in capitals}
        for alphabet in LETTERS_OF_OPTIONS if capitals else ():
            self._option_of |= dict(zip(map(normalised, alphabet), options, strict=False))
        plain = _any_of(options)
        other = _any_of([label for label in self._option_of if label not in options])
        answer, option = _stems(ANSWER_STEMS.values()), _stems(OPTION_STEMS.values())
        self._stated = _pattern(answer + _links() + _announced(plain, other, _NO_WORD + _NO_ARTICLE))
        self._stated_after = _pattern(
            rf"(?<![{_CASED}\p{{N}}])(?P<label>{plain}){_NO_WORD}{_NO_ARTICLE}{_CLOSE}?"
            rf"(?:\s|{_words(LINKS)}){{1,{_MOST_LINKS}}}{answer}"
        )
        self._alone = _pattern(rf"{_LINE_START}(?P<label>{plain}|{other}){_LINE_END}")
        self._written = (
            _pattern(_delimited(plain, other)),
            _pattern(option + _links() + _announced(plain, other, _NO_WORD)),
        )
        self._free = _pattern(_free(plain, are_letters=bool(capitals)))
        self._next = _pattern(_joined(f"{plain}|{other}"))

    def opening(self, text: str) -> set[str]:
        """The options of the lines that are nothing but a label, where the first line is one; else empty."""
        alone = list(_affirmed(self._alone, text))
        return {self._option(match) for match in alone} if alone and alone[0].start() == 0 else set()

    def stated(self, text: str) -> set[str]:
        """The options of the last statement, several where it goes on with another label; empty without one.

        A statement is a word for "answer" or "I choose" and a label after it, a label that "is the answer", or a last
        line of nothing but a label, unless other lines are such labels too.
        """
        found = [match for pattern in (self._stated, self._stated_after) for match in _affirmed(pattern, text)]
        alone = list(_affirmed(self._alone, text))
        if alone and alone[-1].end() >= len(text) and len(set(map(self._option, alone))) == 1:
            found.append(alone[-1])
        return set(self._with_joined([max(found, key=lambda match: match.end("label"))], text)) if found else set()

    def written_as_labels(self, text: str) -> set[str]:
        """The options written as labels: in brackets, at the beginning of a line, after a word for "option"."""
        return {option for pattern in self._written for option in self._with_joined(_affirmed(pattern, text), text)}

    def mentioned(self, text: str) -> set[str]:
        """The options whose plain labels stand alone; a digit only before a punctuation mark or the end."""
        return set(self._with_joined(_affirmed(self._free, text), text))

    def _with_joined(self, matches: Iterable["regex.Match[str]"], text: str) -> Iterator[str]:
        """The options of `matches`, and those that the text joins to them (`B or C`)."""
        walked_to = 0
        for match in matches:
            following: regex.Match[str] | None = match
            while following and following.end("label") > walked_to:
                walked_to = following.end("label")
                yield self._option(following)
                following = self._next.match(text, walked_to)

    def _option(self, match: "regex.Match[str]") -> str:
        return self._option_of[match["label"]]


@cache
def labels_of(options: tuple[str, ...]) -> Labels:
    """The patterns of `options`, made once."""
    return Labels(options)


def _affirmed(pattern: "regex.Pattern[str]", text: str) -> Iterator["regex.Match[str]"]:
    """The matches whose label is not denied."""
    for match in pattern.finditer(text):
        start, end = match.span("label")
        if not _DENIED_BEFORE.search(text[max(0, start - 24) : start]) and not _DENIED_AFTER.match(text, end):
            yield match


def _pattern(source: str) -> "regex.Pattern[str]":
    return regex.compile(source, regex.MULTILINE)


def _any_of(words: Iterable[str]) -> str:
    """One of `words`, the longest first."""
    return "|".join(map(regex.escape, sorted(set(words), key=lambda word: (-len(word), word)))) or "(?!)"


def _words(words: Iterable[str]) -> str:
    """One of `words` in any case, whole where their script has case."""
    plain = {normalised(word) for word in words}
    cased = {word for word in plain if word.upper() != word.lower()}
    return rf"(?i:(?<![{_CASED}])(?:{_any_of(cased)})(?![{_CASED}])|{_any_of(plain - cased)})"


def _stems(languages: Iterable[Sequence[str]]) -> str:
    """A word that begins with one of the stems, in any case."""
    stems = _any_of(normalised(stem) for language in languages for stem in language)
    return rf"(?:(?i:(?<![{_CASED}])(?:{stems}))(?:{_ENDING})?)"


def _links() -> str:
    """What may stand between a word that announces a label and the label."""
    return rf"(?:\s|[:=\-–—>→,]|{_OPEN}|{_words(LINKS)}|{_stems(OPTION_STEMS.values())}){{0,{_MOST_LINKS}}}?"


def _no_word_after_plain_label() -> str:
    """After a plain label: not the rest of a word, number or abbreviation, and no French elision (`C'est`; Turkish
    `C'dir` is an option with its ending)."""
    joint = rf"(?![{_CASED}\p{{M}}\p{{N}}_]|[\-–/&][{_CASED}\d])"
    number = r"(?!(?<=\d)(?:[.,:/\-–٫٬]\d|\s?%))"
    abbreviation = rf"(?!\.[{_CASED}]\.)"
    elision = r"(?!['’][aeiouhyàâéèêëîïôûAEIOUHÉÈÊ])"
    return joint + number + abbreviation + elision


_NO_WORD = _no_word_after_plain_label()
_NO_ARTICLE = rf"(?!(?<=A)\s+(?!(?:{_any_of(WORDS_AFTER_A)})(?![{_CASED}\p{{M}}]))[{_CASED}])"
"""After a plain `A`: no word whose article or preposition it would be (`A dog`)."""


def _announced(plain: str, other: str, no_word: str) -> str:
    """A label after the word that announces it."""
    end = rf"(?={_CLOSE}|[.,:;،؛。．、!?]|\s*$|\s+[-–—]\s|\s+{_words(ENDS)}|번|입니다|이다|です|である|だ)"
    return rf"(?:(?P<label>{plain}){no_word}|(?P<label>{other}){end})"


def _delimited(plain: str, other: str) -> str:
    """A label by its punctuation, or a digit with a counter."""
    label = rf"(?P<label>{plain}|{other})"
    before = rf"(?<![\p{{L}}\p{{M}}\p{{N}}_]|[{_CASED}\p{{N}}]['’.\-–/&])"
    # A point or comma within a number or an abbreviation is not the end of a label.
    point = rf"(?:[.,:،。．、](?!\d|[{_CASED}]\.)|[-–—](?=\s))"
    return "|".join(
        (
            rf"[(\[【（]\s*{label}\s*[)\]】）]",
            rf"{before}{label}\s?[)】）]",
            rf"{_LINE_START}{label}\s?{point}",
            rf"{_LINE_START}{label}{_LINE_END}",
            rf"{before}(?P<label>{plain})(?<=\d)\s?[번番号]",
            rf"第\s?(?P<label>{plain})(?<=\d)(?!\s?[\d.,])",
        )
    )


def _free(plain: str, are_letters: bool) -> str:
    """A plain label in a sentence."""
    before = rf"(?<![{_CASED}\p{{M}}\p{{N}}_]|[{_CASED}\p{{N}}][\-–/&'’.]|\d[.,:٫٬])"
    ends = (
        "" if are_letters else rf"(?=\s*(?:[.,:;!?)。،।]|$)|['’]\p{{Ll}}|{_joined(plain).replace('?P<label>', '?:')})"
    )
    return rf"{before}(?P<label>{plain}){_NO_WORD}{_NO_ARTICLE}{ends}"


def _joined(label: str) -> str:
    """What follows a label where the answer goes on with another one."""
    return (
        rf"{_CLOSE}?\s*(?:[,،、;/&]\s*|{_words(JOINS)}\s*|(?=[(\[])){_OPEN}?(?P<label>{label}){_NO_WORD}{_NO_ARTICLE}"
    )


_DENIED_BEFORE = _pattern(rf"{_words(NOT_BEFORE)}[^\S\n]*{_OPEN}?\Z")
_DENIED_AFTER = _pattern(rf"{_CLOSE}?[^\S\n]*{_words(NOT_AFTER)}")
