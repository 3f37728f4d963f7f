"""What a benchmark is: values only, so that a recipe can be checked and planned without what scores answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cc_tuning.inference.engines import RequestKind

ScoringName = Literal["only_option", "gold_contained", "summary_overlap"]
"""What the paper's figure goes by: the option and no other, a gold answer within the response, or ROUGE-L."""


Unit = Literal["percent", "nats_per_token", "bits_per_byte"]
MetricKind = Literal["task", "likelihood", "behaviour"]
"""Whether a metric tells how good the answers are, how likely the model finds given answers, or what the answers look
like whether right or wrong."""


@dataclass(frozen=True)
class Metric:
    """One figure that a benchmark's answers get."""

    name: str
    """In the score files."""
    label: str
    """For people."""
    sentence: str
    """What it counts, for the page."""
    is_headline: bool = True
    """Whether it stands where a benchmark has room for one figure."""
    is_of_paper: bool = True
    """Whether it is the one to hold beside the paper's tables."""
    unit: Unit = "percent"
    kind: MetricKind = "task"
    is_higher_better: bool = True


ACCURACY = Metric("accuracy", "accuracy", "Accuracy is the percentage of items answered correctly.")
ACCURACY_EXTRACTED = Metric(
    "accuracy_extracted",
    "accuracy, extracted",
    "Accuracy, extracted, first reads out of an answer what it chose (options and numbers in the digits, letters and "
    "words of 22 languages); an answer without one choice is wrong.",
    is_headline=False,
    is_of_paper=False,
)
ACCURACY_ANY_DIGITS = Metric(
    "accuracy_any_digits",
    "accuracy, any digits",
    "Accuracy, any digits, is accuracy where 1969 and ١٩٦٩ are one answer: digits of every script are read alike.",
    is_headline=False,
    is_of_paper=False,
)
EXACT_MATCH = Metric(
    "exact_match",
    "exact match",
    "Exact match is SQuAD's: the percentage of answers equal to a gold answer without case, ASCII punctuation and "
    "English articles.",
    is_headline=False,
    is_of_paper=False,
)
F1 = Metric(
    "f1",
    "F1",
    "F1 (× 100) is SQuAD's: words shared with the nearest gold answer, cut at blanks.",
    is_headline=False,
    is_of_paper=False,
)
MKQA_EM = Metric(
    "mkqa_em",
    "MKQA exact match",
    "MKQA exact match is the percentage of answers equal to an alias after MKQA's own normalisation of the language.",
    is_headline=False,
    is_of_paper=False,
)
MKQA_F1 = Metric(
    "mkqa_f1",
    "MKQA F1",
    "MKQA F1 (× 100) is the words, in Chinese, Japanese and Thai the characters, shared with the nearest alias.",
    is_headline=False,
    is_of_paper=False,
)
ROUGE_L = Metric("rougeL", "ROUGE-L", "ROUGE-L (× 100) compares words split by Unicode rules.", is_of_paper=False)
ROUGE_L_ASCII = Metric(
    "rougeL_ascii",
    "ROUGE-L ASCII",
    "ROUGE-L ASCII drops every letter outside a to z, as the usual scorer does, and is the figure to hold beside "
    "published ones.",
    is_headline=False,
)
CHRF = Metric(
    "chrf",
    "chrF++",
    "chrF++ compares runs of up to six characters and two words, by sacrebleu.",
    is_headline=False,
    is_of_paper=False,
)
ANSWERED_IN_LANGUAGE = Metric(
    "answered_in_language",
    "answered in the language",
    "Answered in the language is the percentage of answers that say something and are not found to be in another "
    "language than the instruction.",
)


def _likelihood(name: str, label: str, sentence: str, unit: Unit = "percent", is_higher_better: bool = True) -> Metric:
    return Metric(name, label, sentence, False, False, unit, "likelihood", is_higher_better)


GOLD_NLL = _likelihood(
    "gold_nll",
    "gold NLL",
    "Gold NLL is the negative log-likelihood that the model gives to the gold answer, per token of it.",
    unit="nats_per_token",
    is_higher_better=False,
)
GOLD_BITS_PER_BYTE = _likelihood(
    "gold_bits_per_byte",
    "gold bits per byte",
    "Gold bits per byte is the same per byte of the answer's UTF-8, which no tokenizer changes.",
    unit="bits_per_byte",
    is_higher_better=False,
)
ACCURACY_BY_LIKELIHOOD = _likelihood(
    "accuracy_by_likelihood",
    "accuracy by likelihood",
    "Accuracy by likelihood is the percentage of items whose right option is the most likely one.",
)
ACCURACY_BY_LIKELIHOOD_PER_BYTE = _likelihood(
    "accuracy_by_likelihood_per_byte",
    "accuracy by likelihood per byte",
    "Accuracy by likelihood per byte divides each option's log-likelihood by its length in bytes first.",
)


def _behaviour(name: str, label: str, sentence: str, is_higher_better: bool = False) -> Metric:
    return Metric(name, label, sentence, False, False, "percent", "behaviour", is_higher_better)


EXTRACTED = _behaviour(
    "extracted",
    "choice found",
    "Choice found is the percentage of answers out of which one choice, or a number, could be read.",
    is_higher_better=True,
)
IN_LANGUAGE = _behaviour(
    "in_language",
    "in the prompt's language",
    "In the prompt's language is the percentage of answers written in it, of those that are long enough to tell.",
    is_higher_better=True,
)
FOREIGN_WORDS = _behaviour(
    "foreign_words",
    "holds Latin words",
    "Holds Latin words is the percentage of answers in the prompt's language, where that has another script, with a "
    "lower-case word in Latin letters that the prompt does not have.",
)
EMPTY = _behaviour("empty", "empty", "Empty is the percentage of answers without a letter or a digit.")
REPEATS_PROMPT = _behaviour(
    "repeats_prompt",
    "repeats the prompt",
    "Repeats the prompt is the percentage of answers that are for the most part a long passage copied from it.",
)
CUT = _behaviour(
    "cut", "cut at the limit", "Cut at the limit is the percentage of answers that did not end by themselves."
)

BEHAVIOUR = (IN_LANGUAGE, FOREIGN_WORDS, EMPTY, REPEATS_PROMPT, CUT)
"""What is said of every written answer, whatever its benchmark."""
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *(ACCURACY, ACCURACY_EXTRACTED, ACCURACY_ANY_DIGITS, EXACT_MATCH, F1, MKQA_EM, MKQA_F1),
        *(ROUGE_L, ROUGE_L_ASCII, CHRF, ANSWERED_IN_LANGUAGE),
        *(ACCURACY_BY_LIKELIHOOD, ACCURACY_BY_LIKELIHOOD_PER_BYTE, GOLD_NLL, GOLD_BITS_PER_BYTE),
        *(EXTRACTED, *BEHAVIOUR),
    )
}
"""By their names, in the order of a page."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark: what its items look like, how they are asked and scored, and what the paper has of it."""

    name: str
    choices_kind: str
    """What its items' `choices_kind` must be; an item of another kind is set aside."""
    request: RequestKind = "generate"
    """`generate`: the model writes an answer. `loglikelihood`: its answer is the option it finds most likely."""
    scoring: ScoringName
    options: tuple[str, ...] = ()
    """What is chosen from, where something is."""
    is_instruction: bool = False
    """Whether its answers are as long as the model makes them, drawn and not greedy."""
    metrics: tuple[Metric, ...]
    """What its answers get, besides what is said of every written answer (`BEHAVIOUR`)."""
    paper_items: int = 0
    """Items per language in the paper (Ye et al. 2025); 0: it does not have this benchmark."""
    paper_languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.options or (self.scoring != "only_option" and self.request == "generate"), self.name

    @property
    def headline_metric(self) -> Metric:
        """The metric of tables with one figure per benchmark."""
        return next(metric for metric in self.metrics if metric.is_headline)

    @property
    def paper_metric(self) -> Metric:
        """The metric that is comparable with the paper's tables."""
        return next(metric for metric in self.metrics if metric.is_of_paper)
