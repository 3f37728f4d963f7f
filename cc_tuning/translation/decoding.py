"""Translated segments, checked: what looks wrong is decoded a second time and the better answer is kept."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cc_tuning.text.languages import Language
from cc_tuning.translation.quality import Segment, flags_of, segment_score


class Vocabulary(Protocol):
    """What segments are planned with: no model is needed for it."""

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
class Tally:
    """What was decoded, counted by different segments; those known from before are not among them."""

    segments: int = 0
    tokens: int = 0
    """Source tokens, those of second attempts included."""
    flags: Counter[str] = field(default_factory=Counter)
    """Segments by what is still suspicious about them; one with two flags is under both."""
    decoded_again: int = 0
    improved: int = 0
    """Second answers that were better."""

    def add(self, other: "Tally") -> None:
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
    tally: Tally = field(default_factory=Tally)

    def decode(self, segments: Iterable[str], source: Language, target: Language) -> dict[str, CheckedSegment]:
        """The checked translation of each different segment; a second answer stays only where its score is higher."""
        distinct = sorted(set(segments))
        if not distinct:
            return {}
        checked = _check(distinct, self.translator.translate(distinct, source, target), source, target)
        suspicious = [segment for segment in distinct if checked[segment].flags] if self.retry else []
        improved = self._better(suspicious, checked, source, target) if suspicious else {}
        checked |= improved
        self.tally.segments += len(distinct)
        self.tally.tokens += sum(self.translator.count_tokens([*distinct, *suspicious]))
        self.tally.flags.update(flag for segment in checked.values() for flag in segment.flags)
        self.tally.decoded_again += len(suspicious)
        self.tally.improved += len(improved)
        return checked

    def _better(
        self, suspicious: Sequence[str], first: dict[str, CheckedSegment], source: Language, target: Language
    ) -> dict[str, CheckedSegment]:
        answers = self.translator.translate_again(suspicious, source, target)
        again = _check(suspicious, answers, source, target)
        return {segment: checked for segment, checked in again.items() if checked.score > first[segment].score}


def _check(
    segments: Sequence[str], answers: Sequence[str], source: Language, target: Language
) -> dict[str, CheckedSegment]:
    return {
        segment: CheckedSegment(segment, answer, flags_of(Segment(segment, answer, source, target)))
        for segment, answer in zip(segments, answers, strict=True)
    }
