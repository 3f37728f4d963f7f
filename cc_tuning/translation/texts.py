"""Whole texts through a translator that takes single segments."""

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass

from cc_tuning.languages import Language
from cc_tuning.translation.decoding import CheckedDecoder, CheckedSegment
from cc_tuning.translation.quality import mean_score
from cc_tuning.translation.segmentation import Segmenter, join_pieces


@dataclass(frozen=True)
class TranslatedText:
    """A text in another language, and the segments it was made of."""

    text: str
    segments: tuple[CheckedSegment, ...]


def translate_texts(
    texts: Sequence[str],
    source: Language,
    target: Language,
    decoder: CheckedDecoder,
    max_segment_tokens: int,
    memory: dict[str, CheckedSegment],
) -> tuple[list[TranslatedText], dict[str, CheckedSegment]]:
    """Each text in the target language, its lines, list markers, code and addresses as they were; and what was decoded.

    Segments that `memory` does not have go to the translator in one call, so that it can batch them by length. The
    memory must be of the same two languages.
    """
    segmenter = Segmenter(source, max_segment_tokens, decoder.translator.count_tokens)
    texts_pieces = [segmenter.pieces(text) for text in texts]
    prose = [[piece.text for piece in pieces if piece.is_prose] for pieces in texts_pieces]
    unknown = {segment for segments in prose for segment in segments if segment not in memory}
    decoded = decoder.decode(unknown, source, target)
    known = ChainMap(decoded, memory)
    translated = []
    for pieces, segments in zip(texts_pieces, prose, strict=True):
        answers = tuple(known[segment] for segment in segments)
        text = join_pieces(pieces, [answer.translation for answer in answers])
        translated.append(TranslatedText(text, answers))
    return translated, decoded


def quality_of(segments: Sequence[CheckedSegment]) -> float:
    """The mean of the segments' scores, each weighted by the characters of its source; 1 without segments."""
    return mean_score([segment.score for segment in segments], [len(segment.source) for segment in segments])


def flags_in(segments: Sequence[CheckedSegment]) -> list[str]:
    """The flags of any of the segments, sorted, each once."""
    return sorted({flag for segment in segments for flag in segment.flags})
