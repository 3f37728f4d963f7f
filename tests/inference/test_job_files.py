"""What an engine is asked and what it answers, as files that are held against each other."""

from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from cc_tuning.errors import EvaluationFailed
from cc_tuning.inference.generating import Answer
from cc_tuning.inference.job_files import (
    prompts_of,
    read_answers,
    read_requests,
    write_generated,
    write_requests,
    write_scored,
)
from cc_tuning.inference.jobs import Generate, InferenceJob, InferenceShard, LogLikelihood, Request
from cc_tuning.inference.loglikelihoods import ContinuationScore
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from data_contracts.errors import ContractViolation

GENERATE = Generate(max_new_tokens=4, stop_token_ids=(2,))
TOKENS = pl.List(pl.Int32)


def job_of(folder: Path, request: Request) -> tuple[InferenceJob, InferenceShard]:
    shard = InferenceShard(name="off/a.parquet", connection="off", request=request, is_english=True, prompts=2)
    return InferenceJob(checkpoint=Location("model"), execution=Execution(), folder=folder, shards=(shard,)), shard


def asked(**more: object) -> pl.DataFrame:
    columns = {"item_id": ["b", "a"], "input_ids": [[1, 2], [3]], "english_input_ids": [None, [4]], **more}
    return pl.DataFrame(columns, schema_overrides={"input_ids": TOKENS, "english_input_ids": TOKENS})


@pytest.mark.parametrize("request_", [GENERATE, LogLikelihood()], ids=["generate", "loglikelihood"])
def test_a_job_is_the_same_after_the_way_through_json(tmp_path: Path, request_: Request) -> None:
    job, _ = job_of(tmp_path, request_)
    assert InferenceJob.model_validate_json(job.model_dump_json()) == job


def test_requests_come_back_as_prompts_in_their_order(tmp_path: Path) -> None:
    job, shard = job_of(tmp_path, GENERATE)
    write_requests(job, shard, asked())
    first, second = prompts_of(read_requests(job, shard), shard)
    assert (first.id, list(first.input_ids), first.english_input_ids, first.is_english) == ("b", [1, 2], None, True)
    assert (second.id, list(second.input_ids), list(second.english_input_ids or ())) == ("a", [3], [4])
    with pytest.raises(ContractViolation, match="continuation_ids"):
        write_requests(job, shard.model_copy(update={"request": LogLikelihood()}), asked())


def test_answers_come_back_in_the_order_that_was_asked(tmp_path: Path) -> None:
    job, shard = job_of(tmp_path, GENERATE)
    write_generated(job, shard, ["b", "a"], [Answer([7, 8], True, 1), Answer([], False, None)])
    assert read_answers(job, shard, ["a", "b"]).to_dicts() == [
        {"item_id": "a", "token_ids": [], "stopped": False, "selected_layer": None},
        {"item_id": "b", "token_ids": [7, 8], "stopped": True, "selected_layer": 1},
    ]
    job, shard = job_of(tmp_path / "scored", LogLikelihood())
    scores = [[ContinuationScore(-1.5, 2, False, 0), ContinuationScore(-2.5, 1, False, 0)]]
    write_scored(job, shard, ["b", "a"], [*scores, [ContinuationScore(-0.5, 1, True, None)]])
    assert read_answers(job, shard, ["a", "b"]).to_dicts() == [
        {"item_id": "a", "log_likelihoods": [-0.5], "are_greedy": [True], "selected_layer": None},
        {"item_id": "b", "log_likelihoods": [-1.5, -2.5], "are_greedy": [False, False], "selected_layer": 0},
    ]


def test_an_engine_that_left_a_shard_open_or_answered_something_else_is_named(tmp_path: Path) -> None:
    job, shard = job_of(tmp_path, GENERATE)
    with pytest.raises(EvaluationFailed, match=r"off/a\.parquet: the engine ended and left this shard open"):
        read_answers(job, shard, ["a"])
    write_generated(job, shard, ["a", "x"], [Answer([7], True, None)] * 2)
    with pytest.raises(EvaluationFailed, match=r"1 prompts have none \(first \['b'\]\), 1 answers .*\['x'\]"):
        read_answers(job, shard, ["a", "b"])


@pytest.mark.parametrize(
    "wrong",
    [{"max_new_tokens": 0}, {"stop_token_ids": ()}, {"sampling": {"temperature": 0}}, {"sampling": {"top_p": 0}}],
)
def test_decoding_that_cannot_be_done_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Generate.model_validate({"max_new_tokens": 4, "stop_token_ids": (2,), **wrong})
