"""The words of one language, read from its file in `words/` and checked: a file is whole or it is refused."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cc_tuning.errors import ConfigError

FOLDER = Path(__file__).with_name("words")
NAMES = ("premise", "hypothesis", "story", "passage", "question", "title", "article", "answer", "summary")
"""What stands before a text, or at the end of a prompt before the answer."""
RELATIONS = ("entailment", "neutral", "contradiction")
"""In the order of XNLI's labels."""
REQUESTS = (
    "ask_relation",
    "ask_ending",
    "ask_choice",
    "ask_short_answer",
    "ask_words_of_passage",
    "ask_summary",
    "ask_reading",
    "ask_result",
    "ask_number",
    "ask_letter",
)
"""Whole sentences: what is asked for."""
_STYLE = ("digits", "colon", "sentence_joiner", "option_opening", "option_closing")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """One language's words, and how it writes numbers, colons and options."""

    language: str
    """ISO 639-1."""
    digits: str
    """Those of 0 to 9 that options are numbered with."""
    colon: str
    """After a name, with the blanks around it that the language writes."""
    sentence_joiner: str
    """Between two sentences."""
    option_opening: str
    option_closing: str
    names: Mapping[str, str]
    relations: Mapping[str, str]
    requests: Mapping[str, str]
    letters: tuple[str, ...] = ()
    """What stands for the letters A to D, where it is something else."""

    def labels(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """The options as the language writes them: digits in its own numerals, letters as they are."""
        if self.letters and options == ("A", "B", "C", "D"):
            return self.letters
        digits = str.maketrans("0123456789", self.digits)
        return tuple(option.translate(digits) for option in options)

    def numbered(self, options: tuple[str, ...], texts: tuple[str, ...]) -> str:
        """One line for each option: its label and its text."""
        return "\n".join(
            f"{self.option_opening}{label}{self.option_closing}{text}"
            for label, text in zip(self.labels(options), texts, strict=True)
        )


def languages() -> tuple[str, ...]:
    """The languages (ISO 639-1) with words, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def vocabulary_of(language: str) -> Vocabulary:
    """The words of a language that `languages` names."""
    return read_vocabulary(FOLDER / f"{language}.toml")


def read_vocabulary(path: Path) -> Vocabulary:
    """The words of a file, whose name is the language's code.

    Raises:
        ConfigError: a word is missing, unknown, or no text; or there are not ten digits.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    sections = {"names": NAMES, "relations": RELATIONS, "requests": REQUESTS}
    style = {key: value for key, value in table.items() if key not in sections}
    _check(path, "the top", style, _STYLE)
    for section, keys in sections.items():
        _check(path, f"[{section}]", table.get(section, {}), keys)
    if len(style["digits"]) != 10 or not style["digits"].isdecimal():
        raise ConfigError(f"{path}: digits is {style['digits']!r}, expected the ten digits of 0 to 9 as one text")
    return Vocabulary(language=path.stem, **style, **{section: table[section] for section in sections})


def _check(path: Path, place: str, found: Mapping[str, Any], expected: tuple[str, ...]) -> None:
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        raise ConfigError(f"{path}, {place}: missing are {missing}, unknown are {unknown}; expected are {expected}")
    for key, value in found.items():
        if not isinstance(value, str):
            raise ConfigError(f"{path}, {place}: {key} is {value!r}, expected a text")
