"""Whole texts through a translator that takes single segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cc_tuning.languages import Language
from cc_tuning.translation.segmentation import Segmenter, join_pieces


class Translator(Protocol):
    """Turns segments of one language into English. The seam for other engines."""

    def knows(self, flores_code: str) -> bool:
        """Whether it was made for this language."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without language and end tokens."""
        ...

    def translate(self, segments: Sequence[str], flores_code: str) -> list[str]:
        """The English of each segment, in the same order; empty where the model said nothing."""
        ...


@dataclass(frozen=True)
class TranslatedText:
    """A text in English."""

    text: str
    segments: int
    """How many segments the translator was given."""
    empty_segments: int
    """How many of them came back empty."""


def translate_texts(
    texts: Sequence[str], language: Language, translator: Translator, max_segment_tokens: int
) -> list[TranslatedText]:
    """Each text in English, its lines, list markers, code and addresses as they were.

    The segments of all texts go to the translator in one call, so that it can batch them by length.
    """
    segmenter = Segmenter(language, max_segment_tokens, translator.count_tokens)
    texts_pieces = [segmenter.pieces(text) for text in texts]
    prose = [[piece.text for piece in pieces if piece.is_prose] for pieces in texts_pieces]
    english = iter(translator.translate([segment for segments in prose for segment in segments], language.flores_code))
    translated = []
    for pieces, segments in zip(texts_pieces, prose, strict=True):
        answers = [next(english) for _ in segments]
        empty = sum(not answer.strip() for answer in answers)
        translated.append(TranslatedText(join_pieces(pieces, answers), len(segments), empty))
    return translated
