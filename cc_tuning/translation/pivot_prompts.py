"""A single prompt through a pivot: its English by a translator, in the place of one that somebody gave."""

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import by_any_code
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.row_translator import translated_text

_PIVOTS = {"pivot": "parallel", "pivot_context": "context"}
"""The modes with a translator, and the connection that reads what it says."""


def with_pivot(connection: str, prompt: str, english: str, translator: str, language: str) -> tuple[str, str]:
    """The connection that answers, and the English prompt it reads: as given, or for a pivot the translator's.

    `translator` is a directory, `language` a code of the prompt's language. An English prompt is its own English.

    Raises:
        ConfigError: a pivot without its translator, language or with an English prompt; or a translator without one.
        TranslationFailed: the translator cannot be loaded.
        UnknownLanguage: no language has this code.
    """
    if connection not in _PIVOTS:
        if translator:
            raise ConfigError(
                f"a translator goes with the connections {' and '.join(_PIVOTS)}, got {connection!r}; leave it out"
            )
        return connection, english
    if english or not (translator and language):
        raise ConfigError(
            f"connection {connection!r} makes the English prompt by itself: give a translator and the prompt's "
            "language, and no English prompt"
        )
    spoken = by_any_code(language, prompt)
    if spoken.is_english:
        return _PIVOTS[connection], prompt
    return _PIVOTS[connection], translated_text(prompt, spoken, Location(translator), TranslationConfig())
