"""One table of languages: Aya's code, FLORES-200 for NLLB, ISO 639-1 for the benchmarks, M2M100.

The table is `languages.csv` beside this file: the 71 languages, dialects and scripts of the Aya dataset, and a few more
that NLLB-200 covers. A code that is not in the table is an error, never a similar language. Two codes stand for two
scripts each (`zho`, `kur`); the language's name or, where scripts can be told apart by letter, the text decides.
Letters belong to scripts by their names in Unicode.
"""

import csv
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cc_tuning.errors import CcTuningError

ENGLISH_FLORES_CODE = "eng_Latn"

_TABLE = Path(__file__).with_name("languages.csv")
_RIGHT_TO_LEFT_SCRIPTS = frozenset({"Arab", "Hebr", "Thaa", "Nkoo", "Syrc"})
_LETTER_NAMES = {
    "Arab": ("ARABIC",), "Beng": ("BENGALI",), "Cyrl": ("CYRILLIC",), "Deva": ("DEVANAGARI",), "Ethi": ("ETHIOPIC",),
    "Grek": ("GREEK",), "Gujr": ("GUJARATI",), "Guru": ("GURMUKHI",), "Hang": ("HANGUL", "IDEOGRAPH"),
    "Hans": ("IDEOGRAPH",), "Hant": ("IDEOGRAPH",), "Jpan": ("HIRAGANA", "KATAKANA", "IDEOGRAPH"),
    "Knda": ("KANNADA",), "Latn": ("LATIN",), "Mlym": ("MALAYALAM",), "Mymr": ("MYANMAR",), "Sinh": ("SINHALA",),
    "Taml": ("TAMIL",), "Telu": ("TELUGU",), "Thai": ("THAI",),
}  # fmt: skip
"""Words in the Unicode names of a script's letters, by ISO 15924 code: every script of `languages.csv`."""


class UnknownLanguage(CcTuningError):
    """A language code that is not in the table."""


@dataclass(frozen=True)
class Language:
    """One row of the table. Codes that a language does not have are empty strings."""

    aya_code: str
    name: str
    script: str
    """ISO 15924."""
    flores_code: str
    """FLORES-200, the code that NLLB knows."""
    iso639_1: str
    m2m100_code: str
    other_codes: tuple[str, ...]
    """Codes of the same language in other sources, such as `swh` for `swa`."""
    in_aya: bool

    @property
    def right_to_left(self) -> bool:
        """Whether the script runs from right to left."""
        return self.script in _RIGHT_TO_LEFT_SCRIPTS

    @property
    def tag(self) -> str:
        """The language tag of BCP 47, with the script, as in `ur-Arab`; for the attribute `lang` of a page."""
        return f"{self.iso639_1 or self.flores_code.partition('_')[0]}-{self.script}"

    @property
    def is_english(self) -> bool:
        """Whether a text in it is its own English version."""
        return self.flores_code == ENGLISH_FLORES_CODE


@cache
def all_languages() -> tuple[Language, ...]:
    """Every row of the table, in its order."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Language(
                aya_code=row["aya_code"],
                name=row["name"],
                script=row["script"],
                flores_code=row["flores_code"],
                iso639_1=row["iso639_1"],
                m2m100_code=row["m2m100_code"],
                other_codes=tuple(row["other_codes"].split()),
                in_aya=row["in_aya"] == "yes",
            )
            for row in csv.DictReader(file)
        )


def find_language(code: str, language_name: str = "", text: str = "") -> Language:
    """The language of a row, from its code; name and text decide where a code stands for two scripts.

    Args:
        code: Aya's code (`swa`) or another code of the same language (`swh`).
        language_name: the row's `language` column, such as "Traditional Chinese"; may be empty.
        text: some text of the row, used only to tell an Arabic from a Latin script; may be empty.

    Raises:
        UnknownLanguage: no language of the table has this code.
    """
    candidates = _by_code().get(code, ())
    if not candidates:
        raise UnknownLanguage(
            f"language code {code!r} (language {language_name!r}) is not among the {len(_by_code())} known codes; "
            f"codes look like 'spa' or 'swh', see cc_tuning/text/languages.csv"
        )
    if len(candidates) == 1:
        return candidates[0]
    for language in candidates:
        if language.name.casefold() == language_name.strip().casefold():
            return language
    for language in candidates:
        if is_mostly_in(text, language.script):
            return language
    # Without a telling name or script the code means its first row: Simplified Chinese, Northern Kurdish.
    return candidates[0]


def by_iso639_1(code: str) -> Language:
    """The language of a two-letter code, as the benchmarks use them (`zh` is Simplified Chinese).

    Raises:
        UnknownLanguage: no language of the table has this code.
    """
    for language in all_languages():
        if code and language.iso639_1 == code:
            return language
    known = " ".join(sorted({language.iso639_1 for language in all_languages() if language.iso639_1}))
    raise UnknownLanguage(f"two-letter language code {code!r} is not known; known are: {known}")


def by_any_code(code: str, text: str = "") -> Language:
    """The language of a FLORES-200 code or of another; `text` tells scripts apart, as in `find_language`.

    Raises:
        UnknownLanguage: no language has this code.
    """
    return by_flores_code(code) if "_" in code else find_language(code, text=text)


def by_flores_code(code: str) -> Language:
    """The language of a FLORES-200 code.

    Raises:
        UnknownLanguage: no language of the table has this code.
    """
    for language in all_languages():
        if language.flores_code == code:
            return language
    raise UnknownLanguage(
        f"FLORES code {code!r} is not known; codes look like 'spa_Latn', see cc_tuning/text/languages.csv"
    )


def count_letters(text: str) -> int:
    """The number of characters that are letters of any script."""
    return sum(character.isalpha() for character in text)


def is_mostly_in(text: str, script: str) -> bool:
    """Whether more than half of the letters belong to `script` (ISO 15924)."""
    return 2 * _letters_in(text, script) > count_letters(text)


def is_mostly_outside(text: str, script: str) -> bool:
    """Whether fewer than half of the letters belong to `script` (ISO 15924); no letters are not outside."""
    return 2 * _letters_in(text, script) < count_letters(text)


@cache
def _by_code() -> dict[str, tuple[Language, ...]]:
    table: dict[str, tuple[Language, ...]] = {}
    for language in all_languages():
        for code in (language.aya_code, *language.other_codes):
            table[code] = (*table.get(code, ()), language)
    return table


def _letters_in(text: str, script: str) -> int:
    return sum(character.isalpha() and _belongs(character, script) for character in text)


@cache
def _belongs(letter: str, script: str) -> bool:
    name = unicodedata.name(letter, "")
    return any(part in name for part in _LETTER_NAMES[script])


ENGLISH = by_flores_code(ENGLISH_FLORES_CODE)
"""The language that most of the pipeline translates into."""
