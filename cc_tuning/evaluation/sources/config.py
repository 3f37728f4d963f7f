"""Which items the stage `items` makes: the recipe's choices, and what of sources and prompts decides the rest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.prompts import languages_of, layout_of, render
from cc_tuning.evaluation.sources import SOURCES

SampleRule = Literal["seeded", "first", "whole"]


class SamplingConfig(BaseModel):
    """Which items of a published benchmark are taken, the same ones in every language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample: SampleRule = Field(
        default="seeded",
        description="Of `items: hub`: as many items per language as the paper has (1,000 of XNLI's 5,010), drawn by a "
        "hash of seed and item (`seeded`) or the first of the file (`first`); or all of them (`whole`), of which "
        "`items_per_language` are evaluated.",
    )
    sample_seed: int = Field(default=0, ge=0, description="Seed of `sample: seeded`.")


class ItemsConfig(SamplingConfig):
    """The identity of the stage `items`."""

    languages: Mapping[str, tuple[str, ...]] = Field(description="Languages of each benchmark.")
    items_per_language: int = Field(ge=1)
    sources: Mapping[str, str] = Field(description="Per benchmark, a sha256 of commits, paths, rows and checksums.")
    prompts: Mapping[str, str] = Field(description="Per benchmark, a sha256 of its prompts around empty texts.")

    def items_of(self, benchmark: str) -> int | None:
        """How many items of each language are taken at most; None: all of them."""
        if self.sample == "whole":
            return None
        return min(self.items_per_language, BENCHMARKS[benchmark].paper_items or self.items_per_language)


def items_config(
    benchmarks: Sequence[str], languages: Sequence[str], items_per_language: int, sampling: Mapping[str, Any]
) -> ItemsConfig:
    """The identity of the items that a recipe asks for; `languages` as in `languages_asked`.

    Raises:
        ConfigError: a benchmark has no source, or a language cannot be had (`languages_asked`).
    """
    if unknown := [name for name in benchmarks if name not in SOURCES]:
        raise ConfigError(
            f"`evaluation.items: hub` has no items of {', '.join(unknown)}; it has {', '.join(SOURCES)}. Leave the "
            "others out of `evaluation.benchmarks`, or give a folder of items"
        )
    if nowhere := [code for code in languages if not any(code in SOURCES[name].files for name in benchmarks)]:
        raise ConfigError(
            f"`evaluation.languages` has {', '.join(nowhere)}, which none of {', '.join(benchmarks)} has; "
            f"{_inventory(benchmarks)}"
        )
    chosen = {name: languages_asked(name, languages) for name in benchmarks}
    return ItemsConfig(
        **sampling,
        languages=chosen,
        items_per_language=items_per_language,
        sources={name: _digest_of_source(name, chosen[name]) for name in benchmarks},
        prompts={name: _digest_of_prompts(name, chosen[name]) for name in benchmarks},
    )


def languages_asked(benchmark: str, languages: Sequence[str]) -> tuple[str, ...]:
    """The languages of a benchmark's items, sorted: those of `languages` that it has.

    None asked for means the paper's; of a benchmark that the paper does not have, all that there are prompts in.

    Raises:
        ConfigError: it has none of them, or there is no prompt in one of them.
    """
    there, known = SOURCES[benchmark].languages, languages_of(benchmark)
    if not languages:
        return tuple(sorted(BENCHMARKS[benchmark].paper_languages)) or tuple(code for code in there if code in known)
    asked = tuple(code for code in there if code in languages)
    if not asked:
        raise ConfigError(f"{benchmark} has none of the languages {', '.join(languages)}; {_inventory([benchmark])}")
    if wordless := [code for code in asked if code not in known]:
        raise ConfigError(
            f"{benchmark} has items in {', '.join(wordless)}, but there are no prompts in that language; there are in "
            f"{' '.join(known)}. Leave it out of `evaluation.languages`"
        )
    return asked


def _inventory(benchmarks: Sequence[str]) -> str:
    return "; ".join(f"{name} has {' '.join(SOURCES[name].languages)}" for name in benchmarks)


def _digest_of_source(benchmark: str, languages: Sequence[str]) -> str:
    files = SOURCES[benchmark].files_of(languages)
    return _digest({language: asdict(file) for language, file in files.items()})


def _digest_of_prompts(benchmark: str, languages: Sequence[str]) -> str:
    """So that the items are made again when a word of their prompts changes."""
    layout = layout_of(benchmark)
    empty = {name: ("",) * layout.sizes[name] if name in layout.sizes else "" for name in layout.fields}
    return _digest({language: render(benchmark, language, empty) for language in dict.fromkeys(("en", *languages))})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
