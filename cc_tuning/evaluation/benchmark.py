"""What a benchmark is: values only, so that a recipe can be checked and planned without what scores answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cc_tuning.inference.engines import RequestKind

ScoringName = Literal["only_option", "gold_contained", "summary_overlap"]
"""The rules of `evaluation/scoring.py`."""


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
ROUGE_L = Metric("rougeL", "ROUGE-L", "ROUGE-L (× 100) compares words split by Unicode rules.", is_of_paper=False)
ROUGE_L_ASCII = Metric(
    "rougeL_ascii",
    "ROUGE-L ASCII",
    "ROUGE-L ASCII drops every letter outside a to z, as the usual scorer does, and is the figure to hold beside "
    "published ones.",
    is_headline=False,
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (ACCURACY, ROUGE_L, ROUGE_L_ASCII)}
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
    metrics: tuple[Metric, ...]
    """In the order in which the rule gives its figures."""
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
