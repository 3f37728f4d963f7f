"""Rows of texts in another language, mostly English, by a translator that works in shards and goes on after a kill.

Two stages ask for it: rows to learn from, and prompts of benchmark items. What becomes of a row without a translation
is for them to say; the rules are the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.text.languages import ENGLISH, Language, by_flores_code
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.decoding import CheckedDecoder, translate_texts
from cc_tuning.translation.job import DecodingJob
from cc_tuning.translation.model_files import Family, check_knows, load_family
from cc_tuning.translation.shard_plan import plan_shards
from cc_tuning.translation.translating import translate_shards
from cc_tuning.translation.workers import decode_job

LACKS_LANGUAGE, EMPTY = "translator_lacks_language", "empty_translation"
"""Rules under which a row is set aside."""
NO_TOKEN = "the translator's tokenizer has no token for the row's FLORES code"
SAID_NOTHING = "the translator said nothing to some segment of the row"


@dataclass(frozen=True)
class RowTranslator:
    """A translator of which the tokenizer alone is loaded here; workers load the rest."""

    translator: Location
    config: TranslationConfig

    @cached_property
    def _vocabulary(self) -> Family:
        return load_family(self.translator)

    def known(self, flores_codes: Iterable[str]) -> list[str]:
        """Those of the languages that the translator was made for.

        Raises:
            TranslationFailed: the translator cannot be loaded.
        """
        return sorted(code for code in set(flores_codes) if self._vocabulary.knows(by_flores_code(code)))

    def check_writes(self, language: Language) -> None:
        """Refuse a language to translate into that the translator was not made for.

        Raises:
            ConfigError: names the language.
            TranslationFailed: the translator cannot be loaded.
        """
        check_knows(self._vocabulary, language, self.translator.name)

    def translated(self, rows: pl.DataFrame, build: Build[Any], target: Language = ENGLISH) -> pl.DataFrame:
        """`rows` (row_id, flores_code, inputs, targets) in `target`, all of known languages.

        Gives row_id, inputs_en, targets_en, quality, flags and `empty_segments`, to which the translator said nothing.
        Shards are kept in the folder of `build`, and `build.execution` says who decodes.

        Raises:
            TranslationFailed: a worker failed, or rows were lost on the way.
        """
        job = DecodingJob(
            translator=self.translator,
            # Without a target, which decides no segment: `target_flores_code` has it.
            config=TranslationConfig(**{name: getattr(self.config, name) for name in TranslationConfig.model_fields}),
            target_flores_code=target.flores_code,
            execution=build.execution,
            folder=build.folder,
        )
        planned = list(plan_shards(rows, build.execution.translation_shard_rows))
        decode = partial(decode_job, run_all=build.run_all)
        made = translate_shards(planned, self._vocabulary, job, decode, build.progress)
        return made.rename({"pair_id": "row_id"}).drop("segments")


def translated_text(text: str, language: Language, translator: Location, config: TranslationConfig) -> str:
    """One text in English, on whatever device there is.

    Raises:
        ConfigError: the translator does not know the language, or said nothing to some segment.
        TranslationFailed: the translator cannot be loaded.
    """
    loaded = load_translator(translator, config, Execution())
    if not loaded.knows(language):
        raise ConfigError(f"{translator.name}: {NO_TOKEN}, {language.flores_code}; use a translator that knows it")
    decoder = CheckedDecoder(loaded, config.retry)
    (made,), _ = translate_texts([text], language, ENGLISH, decoder, config.max_segment_tokens, memory={})
    if not made.text.strip() or any("empty" in segment.flags for segment in made.segments):
        raise ConfigError(f"{translator.name} said nothing to some segment of {text!r}; give its English yourself")
    return made.text
