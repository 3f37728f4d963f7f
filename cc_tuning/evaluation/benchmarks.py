"""The six benchmarks of the paper, one row each (Ye et al. 2025, appendix A.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cc_tuning.evaluation.scorers import chooses_only, contains_gold, normalised


class ScoringRule(Protocol):
    """How a response is compared with gold answers."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the figures; the first is the one comparable with the paper."""

    def score(self, response: str, answers: Sequence[str]) -> tuple[float, ...]:
        """One figure per metric, 0 to 100."""

    def can_be_met(self, answers: Sequence[str]) -> bool:
        """Whether any response could be right."""


@dataclass(frozen=True)
class MultipleChoice:
    """Right when the response contains the gold option and no other."""

    options: tuple[str, ...]
    metrics: tuple[str, ...] = ("accuracy",)

    def score(self, response: str, answers: Sequence[str]) -> tuple[float, ...]:
        return (100.0 * chooses_only(response, answers[0].strip(), self.options),)

    def can_be_met(self, answers: Sequence[str]) -> bool:
        return answers[0].strip() in self.options


@dataclass(frozen=True)
class GoldContained:
    """Right when a gold answer appears in the response."""

    metrics: tuple[str, ...] = ("accuracy",)

    def score(self, response: str, answers: Sequence[str]) -> tuple[float, ...]:
        return (100.0 * contains_gold(response, answers),)

    def can_be_met(self, answers: Sequence[str]) -> bool:
        return any(map(normalised, answers))


@dataclass(frozen=True)
class SummaryOverlap:
    """ROUGE-L with the paper's tokenizer and with one for every script."""

    metrics: tuple[str, ...] = ("rougeL_ascii", "rougeL")

    def score(self, response: str, answers: Sequence[str]) -> tuple[float, ...]:
        # Here, because a recipe names benchmarks and scores nothing: a plan must not load nltk and ICU.
        from cc_tuning.evaluation.rouge import rouge_l, rouge_l_ascii

        return rouge_l_ascii(response, answers), rouge_l(response, answers)

    def can_be_met(self, answers: Sequence[str]) -> bool:
        return any(map(normalised, answers))


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: what its items look like and what the paper reports of it."""

    name: str
    choices_kind: str
    """What its items' `choices_kind` must be; an item of another kind is set aside."""
    rule: ScoringRule
    paper_items: int
    """Items per language in the paper."""
    paper_languages: tuple[str, ...]

    @property
    def paper_metric(self) -> str:
        """The metric that the paper's tables have."""
        return self.rule.metrics[0]


_NUMBER_1_3, _NUMBER_1_2 = MultipleChoice(("1", "2", "3")), MultipleChoice(("1", "2"))
_LETTER_A_D = MultipleChoice(("A", "B", "C", "D"))

_ROWS = (
    Benchmark("XNLI", "option_number_1_3", _NUMBER_1_3, 1000,
              ("en", "ar", "el", "hi", "ru", "sw", "th", "tr", "ur", "zh")),
    Benchmark("XStoryCloze", "option_number_1_2", _NUMBER_1_2, 1511,
              ("en", "ar", "es", "eu", "hi", "id", "ru", "sw", "te", "zh")),
    Benchmark("MMMLU", "option_letter_A_D", _LETTER_A_D, 1000,
              ("en", "ar", "bn", "es", "hi", "id", "ko", "pt", "sw", "yo")),
    Benchmark("MKQA", "answer_aliases", GoldContained(), 1000,
              ("en", "ar", "de", "ja", "ko", "pt", "ru", "tr", "vi", "zh")),
    Benchmark("XQuAD", "context_span", GoldContained(), 1190,
              ("en", "ar", "de", "el", "hi", "ru", "th", "tr", "vi", "zh")),
    Benchmark("XLSum", "reference_summary", SummaryOverlap(), 100,
              ("en", "ar", "fr", "hi", "id", "ru", "sw", "tr", "ur", "vi")),
)  # fmt: skip

BENCHMARKS: Mapping[str, Benchmark] = {row.name: row for row in _ROWS}
