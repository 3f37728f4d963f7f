"""The six benchmarks of the paper, one row each (Ye et al. 2025, appendix A.2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from cc_tuning.evaluation.rouge import rouge_l, rouge_l_ascii
from cc_tuning.evaluation.scorers import chooses_only, contains_gold

ItemScorer = Callable[[str, list[str]], float]
"""From a response and the gold answers to 0 … 100."""


@dataclass(frozen=True)
class Benchmark:
    """How one benchmark is scored and what the paper reports of it."""

    name: str
    choices_kind: str
    """What its items' `choices_kind` must be; an item of another kind is set aside."""
    scorers: Mapping[str, ItemScorer]
    """By metric; the first metric is the one comparable with the paper."""
    paper_languages: tuple[str, ...]
    paper_items: int
    """Items per language in the paper."""
    is_parallel: bool = True
    """Whether equal item ids are the same item in every language."""

    @property
    def paper_metric(self) -> str:
        """The metric that the paper's tables have."""
        return next(iter(self.scorers))


def _choice(options: str) -> Mapping[str, ItemScorer]:
    return {"accuracy": partial(_score_choice, options=tuple(options))}


def _score_choice(response: str, answers: list[str], *, options: Sequence[str]) -> float:
    return 100.0 * chooses_only(response, answers[0].strip(), options)


def _score_gold(response: str, answers: list[str]) -> float:
    return 100.0 * contains_gold(response, answers)


_ROWS = (
    Benchmark("XNLI", "option_number_1_3", _choice("123"),
              ("en", "ar", "el", "hi", "ru", "sw", "th", "tr", "ur", "zh"), 1000),
    Benchmark("XStoryCloze", "option_number_1_2", _choice("12"),
              ("en", "ar", "es", "eu", "hi", "id", "ru", "sw", "te", "zh"), 1511),
    Benchmark("MMMLU", "option_letter_A_D", _choice("ABCD"),
              ("en", "ar", "bn", "es", "hi", "id", "ko", "pt", "sw", "yo"), 1000),
    Benchmark("MKQA", "answer_aliases", {"accuracy": _score_gold},
              ("en", "ar", "de", "ja", "ko", "pt", "ru", "tr", "vi", "zh"), 1000),
    Benchmark("XQuAD", "context_span", {"accuracy": _score_gold},
              ("en", "ar", "de", "el", "hi", "ru", "th", "tr", "vi", "zh"), 1190),
    Benchmark("XLSum", "reference_summary", {"rougeL_ascii": rouge_l_ascii, "rougeL": rouge_l},
              ("en", "ar", "fr", "hi", "id", "ru", "sw", "tr", "ur", "vi"), 100, is_parallel=False),
)  # fmt: skip

BENCHMARKS: Mapping[str, Benchmark] = {row.name: row for row in _ROWS}
