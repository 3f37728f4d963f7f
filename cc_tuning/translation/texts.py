"""Whole texts through a translator that takes single segments."""

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cc_tuning.text.languages import Language
from cc_tuning.translation.decoding import CheckedDecoder, CheckedSegment
from cc_tuning.translation.quality import mean_score
from cc_tuning.translation.segmentation import Piece, Segmenter, join_pieces


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
    cut = cut_texts(texts, Segmenter(source, max_segment_tokens, decoder.translator.count_tokens))
    decoded = decoder.decode(prose_of(cut) - memory.keys(), source, target)
    return put_together(cut, ChainMap(decoded, memory)), decoded


def cut_texts(texts: Iterable[str], segmenter: Segmenter) -> list[list[Piece]]:
    """The pieces of each text."""
    return [segmenter.pieces(text) for text in texts]


def prose_of(cut: Iterable[Sequence[Piece]]) -> set[str]:
    """The segments of texts that a translator must see."""
    return {piece.text for pieces in cut for piece in pieces if piece.is_prose}


def put_together(cut: Iterable[Sequence[Piece]], known: Mapping[str, CheckedSegment]) -> list[TranslatedText]:
    """Each text in another language, all else as it was; `known` has each of its segments."""
    translated = []
    for pieces in cut:
        answers = tuple(known[piece.text] for piece in pieces if piece.is_prose)
        translated.append(TranslatedText(join_pieces(pieces, [answer.translation for answer in answers]), answers))
    return translated


def quality_of(segments: Sequence[CheckedSegment]) -> float:
    """The mean of the segments' scores, each weighted by the characters of its source; 1 without segments."""
    return mean_score([segment.score for segment in segments], [len(segment.source) for segment in segments])


def flags_in(segments: Sequence[CheckedSegment]) -> list[str]:
    """The flags of any of the segments, sorted, each once."""
    return sorted({flag for segment in segments for flag in segment.flags})
