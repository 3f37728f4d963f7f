"""A benchmark's prompt in one language, from its lines, the language's words and the texts of an item.

Texts of items are put in as they are: nothing in them is read as a slot, stripped or normalised.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.prompts.layouts import SLOT, Layout
from cc_tuning.evaluation.prompts.layouts import layout_of as layout_of_words
from cc_tuning.evaluation.prompts.named_fields import NAMED_FIELDS, named_fields
from cc_tuning.evaluation.prompts.vocabulary import RELATIONS, Vocabulary, languages, vocabulary_of


def layout_of(benchmark: str) -> Layout:
    """The lines of a benchmark's prompt.

    Raises:
        ConfigError: no benchmark with a prompt has this name.
    """
    return NAMED_FIELDS[benchmark] if benchmark in NAMED_FIELDS else layout_of_words(benchmark)


def render(benchmark: str, language: str, fields: Mapping[str, Any]) -> str:
    """The prompt of one item, which ends with the cue of the answer and no blank.

    Args:
        benchmark: its name, as in `BENCHMARKS`.
        language: ISO 639-1.
        fields: the item's texts by name, exactly those of `layout_of(benchmark).fields`. `sentences` (4), `endings` (2)
            and `options` (4) are sequences of text.

    Raises:
        ConfigError: the benchmark has no prompt, the language no words, or `fields` has not the names, kinds or numbers
            of texts that the prompt needs.
    """
    layout, vocabulary = layout_of(benchmark), _vocabulary(benchmark, language)
    texts = _checked(benchmark, layout, fields)

    def filled(slot: re.Match[str]) -> str:
        if slot["field"]:
            return _field_text(slot["field"], texts[slot["field"]], layout, vocabulary)
        return _word(slot["word"], layout, vocabulary)

    return SLOT.sub(filled, layout.text).rstrip(" ")


def languages_of(benchmark: str) -> tuple[str, ...]:
    """The languages (ISO 639-1, sorted) that `render` knows for `benchmark`.

    Raises:
        ConfigError: the benchmark has no prompt.
    """
    layout_of(benchmark)
    return tuple(sorted(named_fields())) if benchmark in NAMED_FIELDS else languages()


def option_labels(benchmark: str, language: str) -> tuple[str, ...]:
    """The options as the prompt of that language writes them, in the order of the gold answers; empty without options.

    Numbers are in the language's numerals (`١` in Arabic), letters are A to D everywhere.

    Raises:
        ConfigError: the benchmark has no prompt, or the language no words.
    """
    layout = layout_of(benchmark)
    return _vocabulary(benchmark, language).labels(layout.options)


def labels_in(prompt: str, language: str, options: tuple[str, ...], benchmark: str = "") -> tuple[str, ...]:
    """`options` as `prompt` labels them: in the numerals of its language, or by the labels of the benchmark, where a
    line for each begins so; else as they are."""
    labels, openings = _labelled_lines(language, options, benchmark if benchmark in NAMED_FIELDS else "")
    return labels if all(opening in prompt for opening in openings) else options


@cache
def _labelled_lines(language: str, options: tuple[str, ...], benchmark: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels of the options, and how the lines begin that hold them; as they are in a language without words."""
    if language not in (languages_of(benchmark) if benchmark else languages()):
        return options, ()
    vocabulary = _vocabulary(benchmark, language) if benchmark else vocabulary_of(language)
    lines = vocabulary.numbered(options, ("",) * len(options)).split("\n")
    return vocabulary.labels(options), tuple(f"\n{line}" for line in lines)


def relation_words(language: str) -> tuple[str, ...]:
    """The words for entailment, neutral and contradiction: the texts of XNLI's options.

    Raises:
        ConfigError: the language has no words.
    """
    vocabulary = _vocabulary("XNLI", language)
    return tuple(vocabulary.relations[name] for name in RELATIONS)


def _vocabulary(benchmark: str, language: str) -> Vocabulary:
    known = languages_of(benchmark)
    if language not in known:
        raise ConfigError(
            f"there are no words in language {language!r} for the prompts of {benchmark}; there are for "
            f"{' '.join(known)}. Leave the language out, or give items with prompts of your own"
        )
    return named_fields()[language] if benchmark in NAMED_FIELDS else vocabulary_of(language)


def _checked(benchmark: str, layout: Layout, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    missing, unknown = sorted(set(layout.fields) - set(fields)), sorted(set(fields) - set(layout.fields))
    if missing or unknown:
        raise ConfigError(
            f"an item of {benchmark} has the fields {sorted(fields)}: missing are {missing}, unknown are {unknown}; "
            f"its prompt needs {', '.join(layout.fields)}"
        )
    for name, value in fields.items():
        size = layout.sizes.get(name)
        if size is None:
            is_right = isinstance(value, str)
        else:
            is_right = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == size
            is_right = is_right and all(isinstance(text, str) for text in value)
        if not is_right:
            expected = "a text" if size is None else f"a sequence of {size} texts"
            raise ConfigError(f"field {name!r} of an item of {benchmark} is {value!r}, expected {expected}")
    return fields


def _field_text(name: str, value: Any, layout: Layout, vocabulary: Vocabulary) -> str:
    if name not in layout.sizes:
        return str(value)
    if name == "sentences":
        return vocabulary.sentence_joiner.join(value)
    return vocabulary.numbered(layout.options, tuple(value))


def _word(name: str, layout: Layout, vocabulary: Vocabulary) -> str:
    if name == "relations":
        return vocabulary.numbered(layout.options, relation_words(vocabulary.language))
    if name in vocabulary.names:
        return vocabulary.names[name] + vocabulary.colon
    return vocabulary.requests[name]
