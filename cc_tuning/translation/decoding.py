"""Segments in English, checked: what looks wrong is decoded a second time and the better answer is kept."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cc_tuning.languages import Language
from cc_tuning.translation.quality import Segment, flags_of, segment_score


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

    def translate_again(self, segments: Sequence[str], flores_code: str) -> list[str]:
        """Another attempt at segments whose first English looks wrong; it may say the same again."""
        ...


@dataclass(frozen=True)
class CheckedSegment:
    """A segment, its English, and what the checks say of it."""

    source: str
    english: str
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


@dataclass(frozen=True)
class CheckedDecoder:
    """A translator whose answers are checked."""

    translator: Translator
    retry: bool
    """Whether segments with a flag are decoded again."""
    tally: Tally = field(default_factory=Tally)

    def decode(self, segments: Iterable[str], language: Language) -> dict[str, CheckedSegment]:
        """The checked English of each different segment; a second answer is kept only where its score is higher."""
        distinct = sorted(set(segments))
        if not distinct:
            return {}
        answers = self.translator.translate(distinct, language.flores_code)
        checked = {source: _check(source, english, language) for source, english in zip(distinct, answers, strict=True)}
        suspicious = [source for source in distinct if checked[source].flags] if self.retry else []
        improved = self._better(suspicious, checked, language) if suspicious else {}
        checked |= improved
        self.tally.segments += len(distinct)
        self.tally.tokens += sum(self.translator.count_tokens([*distinct, *suspicious]))
        self.tally.flags.update(flag for segment in checked.values() for flag in segment.flags)
        self.tally.decoded_again += len(suspicious)
        self.tally.improved += len(improved)
        return checked

    def _better(
        self, suspicious: Sequence[str], first: dict[str, CheckedSegment], language: Language
    ) -> dict[str, CheckedSegment]:
        answers = self.translator.translate_again(suspicious, language.flores_code)
        again = [_check(source, english, language) for source, english in zip(suspicious, answers, strict=True)]
        return {segment.source: segment for segment in again if segment.score > first[segment.source].score}


def _check(source: str, english: str, language: Language) -> CheckedSegment:
    return CheckedSegment(source, english, flags_of(Segment(source, english, language)))
