"""Sentence pairs for the translator: what the translate stage will cut out of instruction rows, in both languages.

The pairs come through the very segmentation that the translate stage uses, so that the tiny translator is asked for the
kind of pieces it has learned. Their facts are invented: the translator learns language, not the world.
"""

import random
from collections.abc import Sequence
from functools import cache

import polars as pl

from cc_tuning.miniature.exercises import CHOICES_KINDS, Rendered
from cc_tuning.miniature.lexicon import ENGLISH, Tongue, tongue, tongues
from cc_tuning.miniature.random_draws import Pool, draw
from cc_tuning.text.languages import Language
from cc_tuning.translation.segmentation import Segmenter

# Characters; longer than any sentence of the world.
_LONGEST_SENTENCE = 1_000


def translation_pairs(pairs_per_language: int, pool: Pool, seed: int) -> pl.DataFrame:
    """Columns sentence_id, flores_code, text, english; `pairs_per_language` different pairs in each language."""
    english = tongue(ENGLISH)
    rows = []
    for language in tongues():
        if language.code == ENGLISH:
            continue
        generator = random.Random(f"pairs/{language.code}/{seed}")
        pairs: dict[str, str] = {}
        while len(pairs) < pairs_per_language:
            exercise = draw(generator.choice(tuple(CHOICES_KINDS)), pool, generator)
            pairs |= _aligned(exercise.render(language), language, exercise.render(english), english)
        rows += [
            {
                "sentence_id": f"{language.code}-{number:06d}",
                "flores_code": language.language.flores_code,
                "text": text,
                "english": translation,
            }
            for number, (text, translation) in enumerate(list(pairs.items())[:pairs_per_language])
        ]
    return pl.DataFrame(rows)


def _aligned(rendered: Rendered, language: Tongue, in_english: Rendered, english: Tongue) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text, translation in ((rendered.prompt, in_english.prompt), (rendered.response, in_english.response)):
        sentences = _prose(text, language.language)
        translations = _prose(translation, english.language)
        # Sentences correspond one to one unless a splitter disagrees about one of them; then none is taken.
        if len(sentences) == len(translations):
            pairs |= dict(zip(sentences, translations, strict=True))
    return pairs


def _prose(text: str, language: Language) -> list[str]:
    return [sentence for line in text.split("\n") for sentence in _prose_of_line(line, language)]


@cache
def _prose_of_line(line: str, language: Language) -> tuple[str, ...]:
    """Cached, since instructions, options and cues are the same lines over and over."""
    pieces = Segmenter(language, _LONGEST_SENTENCE, _count_characters).pieces(line)
    return tuple(piece.text for piece in pieces if piece.is_prose)


def _count_characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]
