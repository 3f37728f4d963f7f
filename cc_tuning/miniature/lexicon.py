"""The hand-written tables of the miniature world, and how a template becomes a sentence.

One YAML file per language holds its names, words and templates, so that whoever speaks the language can read and
correct it alone; `world.yaml` holds what is so in every language. Agreement is written where it is needed:
`cansad[o/a]` picks by the gender of the sentence's subject, masculine first, and a word may have further forms
(`{value.accusative}`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from cc_tuning.text.languages import Language, by_iso639_1

Gender = Literal["m", "f"]
Forms = Mapping[str, str]

ENGLISH = "en"
LANGUAGES = ("en", "es", "sw", "hi", "zh", "ar")

_TABLES = Path(__file__).with_name("tables")
_SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_AGREEMENT = re.compile(r"\[([^\[\]/]*)/([^\[\]/]*)\]")


@dataclass(frozen=True)
class Relation:
    """A thing that can be said of a subject, such as its profession or its capital."""

    name: str
    subject_kind: str
    """`person` or `country`."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class WorldTables:
    """The facts and names that hold in every language; ids are English words."""

    given_names: dict[str, Gender]
    """Of the people that stories are told of."""
    syllables: tuple[str, ...]
    """Of which the names of the facts' people are made."""
    countries: dict[str, tuple[str, str]]
    """country: (capital, continent)."""
    relations: dict[str, Relation]
    stories: tuple[str, ...]


@dataclass(frozen=True)
class LanguageTables:
    """One language of the world: its names, words and templates, and how to fill them."""

    code: str
    """ISO 639-1."""
    entries: Mapping[str, Any]
    """The content of its YAML file."""
    names: Mapping[str, str]
    given_names: Mapping[str, Gender]

    @property
    def codes(self) -> Language:
        """Its names and codes: a row of `languages.csv`."""
        return by_iso639_1(self.code)

    def forms(self, identifier: str) -> Forms:
        """The forms of a name or word; a number is written alike in every language.

        The id of one of the facts' people is its name's syllables with hyphens between them.
        """
        if identifier in self.names:
            return {"word": self.names[identifier]}
        if "-" in identifier:
            script = self.entries.get("syllables", {})
            written = "".join(script.get(syllable, syllable) for syllable in identifier.split("-"))
            return {"word": written.capitalize()}
        forms = self.entries["words"].get(identifier, identifier)
        return {"word": forms} if isinstance(forms, str) else forms

    def gender(self, subject: str) -> Gender:
        """The grammatical gender of a person or country."""
        if subject in self.given_names:
            return self.given_names[subject]
        if "-" in subject:
            return "f" if subject.endswith("a") else "m"
        return "m" if subject in self.entries.get("masculine", ()) else "f"

    def fill(self, template: str, subject: str, **slots: str) -> str:
        """`template` as a sentence about `subject`; `slots` maps a slot's name to the id of a name or word.

        Raises:
            KeyError: the template asks for a slot or a form that is not there.
        """
        words = {name: self.forms(identifier) for name, identifier in slots.items()}
        words["subject"] = self.forms(subject)
        filled = _SLOT.sub(lambda slot: words[slot[1]][slot[2] or "word"], template)
        chosen = 1 if self.gender(subject) == "m" else 2
        return _AGREEMENT.sub(lambda choice: choice[chosen], filled)

    def join(self, sentences: list[str]) -> str:
        """Sentences as running text; Chinese needs no space between them."""
        return ("" if self.code == "zh" else " ").join(sentences)


@cache
def world_tables() -> WorldTables:
    """The tables of `world.yaml`."""
    raw = _read("world")
    given_names: dict[str, Gender] = dict.fromkeys(raw["given_names"]["f"], "f")
    given_names |= dict.fromkeys(raw["given_names"]["m"], "m")
    countries = {name: (capital, continent) for name, (capital, continent) in raw["countries"].items()}
    real_values = {
        "capital": tuple(capital for capital, _ in countries.values()),
        "continent": tuple(dict.fromkeys(continent for _, continent in countries.values())),
    }
    relations = {
        name: Relation(name, entry["subject"], tuple(entry["values"] or real_values[name]))
        for name, entry in raw["relations"].items()
    }
    return WorldTables(given_names, tuple(raw["syllables"]), countries, relations, tuple(raw["stories"]))


@cache
def language_tables(code: str) -> LanguageTables:
    """The language with the ISO 639-1 code `code`, one of `LANGUAGES`."""
    tables = _read(code)
    english = _read(ENGLISH)["names"]
    # Spanish and Swahili share most names with English; their files hold only what they write differently.
    names = {
        identifier: tables["names"][kind].get(identifier, name)
        for kind, kind_names in english.items()
        for identifier, name in kind_names.items()
    }
    return LanguageTables(code, tables, names, world_tables().given_names)


def every_language() -> tuple[LanguageTables, ...]:
    """All languages of the world, English first."""
    return tuple(language_tables(code) for code in LANGUAGES)


def _read(name: str) -> dict[str, Any]:
    tables: dict[str, Any] = yaml.safe_load((_TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    return tables
