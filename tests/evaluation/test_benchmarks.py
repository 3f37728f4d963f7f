"""The benchmarks as values: the paper's six stay the default, and every figure says what it is for."""

import pytest
from pydantic import ValidationError

from cc_tuning.evaluation.benchmark import ACCURACY, METRICS, Benchmark
from cc_tuning.evaluation.benchmarks import BENCHMARKS, PAPER_BENCHMARKS
from cc_tuning.evaluation.config import EvaluationConfig, RunEvaluation
from cc_tuning.evaluation.scoring import score_response
from data_contracts.fingerprint import fingerprint

NEW = Benchmark(
    name="New",
    choices_kind="option_number_1_2",
    request="loglikelihood",
    scoring="only_option",
    options=("1", "2"),
    metrics=(ACCURACY,),
    paper_items=99_999,
    paper_languages=("en",),
)


def test_a_new_benchmark_changes_no_fingerprint_of_a_recipe_that_does_not_name_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def identity() -> str:
        return fingerprint("evaluate", 2, RunEvaluation(run="ml-sft", evaluation=EvaluationConfig()), {})

    before = identity()
    monkeypatch.setitem(BENCHMARKS, "New", NEW)  # type: ignore[arg-type]
    assert identity() == before
    assert EvaluationConfig(benchmarks=("New",)).benchmarks == ("New",)
    assert PAPER_BENCHMARKS == ("XNLI", "XStoryCloze", "MMMLU", "MKQA", "XQuAD", "XLSum")
    assert EvaluationConfig().items_per_language == 1511


def test_a_benchmark_that_stands_twice_or_nowhere_is_refused() -> None:
    with pytest.raises(ValidationError, match="stands twice in XNLI, MKQA, XNLI"):
        EvaluationConfig(benchmarks=("XNLI", "MKQA", "XNLI"))
    with pytest.raises(ValidationError, match=r"unknown benchmarks \['XNLY'\]; known: XNLI"):
        EvaluationConfig(benchmarks=("XNLY",))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_has_one_headline_one_figure_of_the_paper_and_a_value_for_each_metric(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert sum(metric.is_headline for metric in benchmark.metrics) == 1
    assert sum(metric.is_of_paper for metric in benchmark.metrics) == 1
    assert set(benchmark.metrics) <= set(METRICS.values())
    answer = benchmark.options[0] if benchmark.options else "Nairobi has 18 hills"
    assert score_response(benchmark, answer, [answer]) == {metric.name: 100.0 for metric in benchmark.metrics}


def test_the_figures_of_summaries_are_told_apart_by_what_they_are_for() -> None:
    assert BENCHMARKS["XLSum"].headline_metric.name == "rougeL"
    assert BENCHMARKS["XLSum"].paper_metric.name == "rougeL_ascii"
