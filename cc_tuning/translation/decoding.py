"""Texts through a translator that takes single segments, and whose answers are checked.

A text is cut, its segments are decoded, and their translations are put back where they stood. What looks wrong is
decoded a second time, and the better answer is kept.
"""

from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cc_tuning.text.languages import Language
from cc_tuning.translation.quality import Segment, flags_of, mean_score, segment_score
from cc_tuning.translation.segmentation import Piece, Segmenter, join_pieces


class Vocabulary(Protocol):
    """The part of a translator that plans need: languages and tokens, no model."""

    def knows(self, language: Language) -> bool:
        """Whether it was made for this language, as source and as target."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without language and end tokens."""
        ...


class Translator(Vocabulary, Protocol):
    """Turns segments of one language into another. The seam for other engines."""

    def translate(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        """Each segment in the target language, in the same order; empty where the model said nothing."""
        ...

    def translate_again(self, segments: Sequence[str], source: Language, target: Language) -> list[str]:
        """Another attempt at segments whose first translation looks wrong; it may say the same again."""
        ...


@dataclass(frozen=True)
class CheckedSegment:
    """A segment, its translation, and what the checks say of it."""

    source: str
    translation: str
    flags: tuple[str, ...]

    @property
    def score(self) -> float:
        """0 to 1, 1 for no flag."""
        return segment_score(self.flags)


@dataclass
class DecodingCounts:
    """Counts of what was decoded, by different segments; those known from before are not among them."""

    segments: int = 0
    tokens: int = 0
    """Source tokens, those of second attempts included."""
    flags: Counter[str] = field(default_factory=Counter)
    """Segments by what is still suspicious about them; one with two flags is under both."""
    decoded_again: int = 0
    improved: int = 0
    """Second answers that were better."""

    def add(self, other: "DecodingCounts") -> None:
        """Count what another decoder decoded, too."""
        self.segments += other.segments
        self.tokens += other.tokens
        self.flags.update(other.flags)
        self.decoded_again += other.decoded_again
        self.improved += other.improved


@dataclass(frozen=True)
class CheckedDecoder:
    """A translator whose answers are checked."""

    translator: Translator
    retry: bool
    """Whether segments with a flag are decoded again."""
    counts: DecodingCounts = field(default_factory=DecodingCounts)

    def decode(self, segments: Iterable[str], source: Language, target: Language) -> dict[str, CheckedSegment]:
        """The checked translation of each different segment; a second answer stays only where its score is higher."""
        distinct = sorted(set(segments))
        if not distinct:
            return {}
        checked = _check(distinct, self.translator.translate(distinct, source, target), source, target)
        suspicious = [segment for segment in distinct if checked[segment].flags] if self.retry else []
        improved = self._better(suspicious, checked, source, target) if suspicious else {}
        checked |= improved
        self.counts.segments += len(distinct)
        self.counts.tokens += sum(self.translator.count_tokens([*distinct, *suspicious]))
        self.counts.flags.update(flag for segment in checked.values() for flag in segment.flags)
        self.counts.decoded_again += len(suspicious)
        self.counts.improved += len(improved)
        return checked

    def _better(
        self, suspicious: Sequence[str], first: dict[str, CheckedSegment], source: Language, target: Language
    ) -> dict[str, CheckedSegment]:
        answers = self.translator.translate_again(suspicious, source, target)
        again = _check(suspicious, answers, source, target)
        return {segment: checked for segment, checked in again.items() if checked.score > first[segment].score}


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


def _check(
    segments: Sequence[str], answers: Sequence[str], source: Language, target: Language
) -> dict[str, CheckedSegment]:
    return {
        segment: CheckedSegment(segment, answer, flags_of(Segment(segment, answer, source, target)))
        for segment, answer in zip(segments, answers, strict=True)
    }
