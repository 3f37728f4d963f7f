"""Likelihoods of given answers: what is asked for, what is set aside, and the scores, by closed forms."""

import math
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.benchmark import METRICS
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.candidates import gold_answer, with_candidates
from cc_tuning.evaluation.config import EvaluationConfig
from cc_tuning.evaluation.likelihood_scores import score_likelihoods
from cc_tuning.evaluation.likelihoods import plan_likelihoods, read_likelihoods
from cc_tuning.evaluation.prompts import languages_of, option_labels, render
from cc_tuning.evaluation.requests import grouped, render_requests
from cc_tuning.inference.job_files import write_scored
from cc_tuning.inference.jobs import InferenceJob
from cc_tuning.inference.loglikelihoods import ContinuationScore
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.schemas import BenchmarkItem, CandidateLikelihood


def item(benchmark: str, item_id: str = "a", answers: tuple[str, ...] = ("2",), **more: object) -> dict[str, object]:
    columns = dict.fromkeys(("choices", "group", "cluster"))
    kind = BENCHMARKS[benchmark].choices_kind
    texts = {"prompt": f"frage {item_id}?", "prompt_en": f"question {item_id}?"}
    key = {"benchmark": benchmark, "language": "de", "item_id": item_id, "choices_kind": kind}
    return {**columns, **key, **texts, "answers": list(answers), **more}


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    return BenchmarkItem.cast(pl.DataFrame(list(rows), infer_schema_length=None))


def test_the_gold_answer_is_the_first_that_is_not_blank_as_a_model_would_write_it() -> None:
    assert gold_answer(["\u200f ", " Nairobi \n", "nairobi"]) == "Nairobi"


def test_candidates_are_the_options_or_the_gold_answer_without_the_end_of_the_turn(
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    prompts = ChatPrompts(tiny_tokenizer)
    rows = with_candidates(frame(item("XNLI"), item("MKQA", answers=("Nairobi ", "NBO"))), prompts)
    assert rows["candidates"].to_list() == [["1", "2", "3"], ["Nairobi"]]
    assert rows["gold"].to_list() == ["2", "Nairobi"]
    for row in rows.iter_rows(named=True):
        for text, ids in zip(row["candidates"], row["continuation_ids"], strict=True):
            example = prompts.encode_example(row["prompt"], text)
            assert [*ids, prompts.end_of_turn_id] == example.input_ids[example.prompt_length :]


@pytest.mark.parametrize("language", languages_of("XStoryCloze"))
def test_an_option_is_asked_for_as_its_prompt_labels_it_and_named_as_the_data_do(
    tiny_tokenizer: PreTrainedTokenizerBase, language: str
) -> None:
    prompts = ChatPrompts(tiny_tokenizer)
    fields = {"sentences": ("a", "b", "c", "d"), "endings": ("e", "f")}
    rendered = item("XStoryCloze", "ours", language=language, prompt=render("XStoryCloze", language, fields))
    plain = item("XStoryCloze", "authors", language=language, prompt="a b c d\n1. e\n2. f\n")
    rows = with_candidates(frame(rendered, plain), prompts)
    assert rows["candidates"].to_list() == [["1", "2"], ["1", "2"]]
    for row, labels in zip(
        rows.iter_rows(named=True), (option_labels("XStoryCloze", language), ("1", "2")), strict=True
    ):
        assert row["candidate_bytes"] == [len(label.encode()) for label in labels]
        for label, ids in zip(labels, row["continuation_ids"], strict=True):
            example = prompts.encode_example(row["prompt"], label)
            assert [*ids, prompts.end_of_turn_id] == example.input_ids[example.prompt_length :]
    if language == "ar":
        assert "\n(١) e\n(٢) f\n" in str(rendered["prompt"])
        assert rows["candidate_bytes"].to_list() == [[2, 2], [1, 1]]


def test_an_item_whose_gold_answer_is_longer_than_the_context_is_set_aside_for_all_that_is_asked(
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    items = frame(item("XLSum", "short", ("In brief.",)), item("XLSum", "long", ("At great length. " * 60,)))
    arguments = {"with_english": True, "context_tokens": 200, "max_new_tokens": lambda _: 5}
    requests = render_requests(items, ChatPrompts(tiny_tokenizer), **arguments)  # type: ignore[arg-type]
    assert requests.rows["item_id"].to_list() == ["short"]
    assert requests.quarantined["row_id"].to_list() == ["long"]
    assert requests.rows["other"].to_list() == [None]  # the only other one is set aside
    without = render_requests(items, ChatPrompts(tiny_tokenizer), with_likelihoods=False, **arguments)  # type: ignore[arg-type]
    assert without.rows.height == 2


def likelihood(benchmark: str, candidate: str, log_likelihood: float, **changes: object) -> dict[str, object]:
    row = {
        "run": "r", "connection": "off", "benchmark": benchmark, "language": "de", "item_id": "a",
        "candidate": candidate, "log_likelihood": log_likelihood, "tokens": 4, "bytes": 8, "is_greedy": False,
        "selected_layer": None,
    }  # fmt: skip
    return row | changes


def scored(likelihoods: list[dict[str, object]], *items: dict[str, object]) -> dict[str, float]:
    rows = CandidateLikelihood.validate(pl.DataFrame(likelihoods), cast=True)
    return dict(score_likelihoods(rows, frame(*items)).select("metric", "value").iter_rows())


def test_the_gold_answer_counts_per_token_and_per_byte() -> None:
    values = scored([likelihood("MKQA", "gold", -6.0)], item("MKQA", answers=("Nairobi",)))
    assert values == {"gold_nll": pytest.approx(6 / 4), "gold_bits_per_byte": pytest.approx(6 / math.log(2) / 8)}


@pytest.mark.parametrize(
    ("sums", "lengths", "by_sum", "per_byte"),
    [
        ((-3.0, -1.0, -2.0), (1, 1, 1), 100.0, 100.0),
        ((-1.0, -3.0, -2.0), (1, 1, 1), 0.0, 0.0),
        ((-3.0, -4.0, -5.0), (1, 4, 1), 0.0, 100.0),
        ((-2.0, -2.0, -2.0), (1, 1, 1), 0.0, 0.0),  # the first of equals is 1
        ((-3.0, -2.0, -2.0), (1, 1, 1), 100.0, 100.0),  # and here it is 2
    ],
)
def test_the_most_likely_option_is_the_answer_by_its_sum_or_per_byte(
    sums: tuple[float, ...], lengths: tuple[int, ...], by_sum: float, per_byte: float
) -> None:
    rows = [
        likelihood("XNLI", option, total, bytes=length)
        for option, total, length in zip("123", sums, lengths, strict=True)
    ]
    rows.insert(1, likelihood("XNLI", "gold", sums[1]))
    for order in (rows, rows[::-1]):
        values = scored(order, item("XNLI", answers=("2 ",)))
        assert (values["accuracy_by_likelihood"], values["accuracy_by_likelihood_per_byte"]) == (by_sum, per_byte)
        assert set(values) == {name for name, metric in METRICS.items() if metric.kind == "likelihood"}


def test_scores_carry_group_and_cluster_and_a_likelihood_of_no_item_is_refused() -> None:
    rows = CandidateLikelihood.validate(pl.DataFrame([likelihood("MKQA", "gold", -6.0)]), cast=True)
    items = frame(item("MKQA", answers=("Nairobi",), group="place", cluster="kenya"))
    assert set(score_likelihoods(rows, items).select("group", "cluster").iter_rows()) == {("place", "kenya")}
    with pytest.raises(EvaluationFailed, match=r"1 likelihoods are of no item, first \['a'\]"):
        score_likelihoods(rows, items.with_columns(item_id=pl.lit("b")))


def test_an_engine_that_gives_another_number_of_scores_is_named(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    requests = render_requests(
        frame(item("XNLI")),
        ChatPrompts(tiny_tokenizer),
        with_english=False,
        context_tokens=200,
        max_new_tokens=lambda _: 5,
    )
    (planned,) = plan_likelihoods(grouped(requests.rows), ("off", "parallel", "other"))
    assert planned.shard.name == "likelihood/off/XNLI-de.parquet"
    job = InferenceJob(checkpoint=Location("model"), execution=Execution(), folder=tmp_path, shards=(planned.shard,))
    write_scored(job, planned.shard, ["a"], [[ContinuationScore(-1.0, 1, False, None)] * 2])
    with pytest.raises(EvaluationFailed, match=r"off/XNLI-de\.parquet: 1 prompts have not one score .*first \['a'\]"):
        read_likelihoods(job, planned, "run")
    write_scored(job, planned.shard, ["a"], [[ContinuationScore(-1.0 - at, 1, at == 0, None) for at in range(3)]])
    rows = CandidateLikelihood.validate(read_likelihoods(job, planned, "run"), cast=True)
    assert dict(rows.select("candidate", "log_likelihood").iter_rows()) == {
        "gold": -2.0,
        "1": -1.0,
        "2": -2.0,
        "3": -3.0,
    }
    assert dict(rows.select("candidate", "is_greedy").iter_rows()) == {"gold": False, "1": True, "2": False, "3": False}


def test_controls_need_likelihoods_and_are_named_once() -> None:
    assert EvaluationConfig().controls == ("constant", "other")
    assert EvaluationConfig(likelihoods=False).controls == ()
    # A recipe as it is written down again says the default, too.
    assert EvaluationConfig(**EvaluationConfig().model_dump() | {"likelihoods": False}).controls == ()
    with pytest.raises(ValidationError, match="by likelihood only: identity asked for, and likelihoods is false"):
        EvaluationConfig(likelihoods=False, controls=("identity",))
    with pytest.raises(ValidationError, match="a name stands twice in controls: other, other"):
        EvaluationConfig(controls=("other", "other"))
    with pytest.raises(ValidationError, match="'constant', 'other' or 'identity'"):
        EvaluationConfig.model_validate({"controls": ["parallel"]})
