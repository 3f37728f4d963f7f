"""The reference engine: `transformers` in worker processes, batches of prompts of similar length.

A worker loads the checkpoint once and answers its shards one after the other. A shard's marker is written after its
file, so a killed worker leaves whole shards and at most one to do again.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel

from cc_tuning.errors import EvaluationFailed
from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.generating import generate_answers
from cc_tuning.inference.job_files import prompts_of, read_requests, write_generated, write_scored
from cc_tuning.inference.jobs import Dtype, Generate, InferenceJob, InferenceShard, OnAnswers
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.inference.prompts import longest_first
from cc_tuning.model import CrossLingualModel, load_checkpoint
from cc_tuning.model.checkpoint import downloaded_model
from cc_tuning.runtime.devices import resolve_device
from cc_tuning.runtime.jobs import MakeShard, Say, Work
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_job

AnswerT = TypeVar("AnswerT")


class AnswersReport(BaseModel):
    """A batch of prompts was answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answered: int


class TransformersEngine:
    """Worker processes of this machine, one per GPU where there are GPUs, or actors on Ray."""

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        def on_report(report: AnswersReport) -> None:
            on_answers(report.answered)

        run_job(ANSWERING, job, on_report, run_all, job.execution.inference_workers)


def begin_answering(job: InferenceJob) -> MakeShard[AnswersReport]:
    """The function that answers shards, the checkpoint loaded.

    Raises:
        UnsupportedModel, ConfigError, ArtifactMismatch: the checkpoint cannot be used.
    """
    model = load_checkpoint(
        downloaded_model(job.checkpoint.name, job.checkpoint.revision),
        torch_dtype(job.dtype),
        resolve_device(job.execution.device),
        job.transform_matrix,
        job.execution.attention,
    )

    def answer(shard: InferenceShard, say: Say[AnswersReport]) -> None:
        answer_shard(model, shard, job, say)

    return answer


def torch_dtype(name: Dtype) -> torch.dtype | str:
    """The dtype that `from_pretrained` takes."""
    if name == "auto":
        return name
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def answer_shard(
    model: CrossLingualModel | PreTrainedModel, shard: InferenceShard, job: InferenceJob, say: Say[AnswersReport]
) -> None:
    """Answer what `shard` wants, a report per batch, and write it, marker last."""
    rows, request = read_requests(job, shard), shard.request
    prompts, batch_size = prompts_of(rows, shard), job.execution.evaluation_batch_size
    ids, lengths = [prompt.id for prompt in prompts], [len(prompt.input_ids) for prompt in prompts]
    if isinstance(request, Generate):
        answers = _in_batches(
            lengths,
            batch_size,
            lambda batch: generate_answers(model, [prompts[row] for row in batch], shard.connection, request),
            say,
        )
        write_generated(job, shard, ids, answers)
        return
    candidates: list[list[list[int]]] = rows["continuation_ids"].to_list()
    constant = None
    if shard.connection == "constant" and isinstance(model, CrossLingualModel):
        constant = mean_carried_vector(model, prompts, batch_size)
    scores = _in_batches(
        [length + max(map(len, of_prompt)) for length, of_prompt in zip(lengths, candidates, strict=True)],
        batch_size,
        lambda batch: score_candidates(
            model, [prompts[row] for row in batch], [candidates[row] for row in batch], shard.connection, constant
        ),
        say,
    )
    write_scored(job, shard, ids, scores)


def _in_batches(
    lengths: Sequence[int],
    batch_size: int,
    answer: Callable[[list[int]], list[AnswerT]],
    say: Say[AnswersReport],
) -> list[AnswerT]:
    """What `answer` makes of batches of places, in the order of the places."""
    answers: dict[int, AnswerT] = {}
    for batch in longest_first(lengths, batch_size):
        answers |= dict(zip(batch, answer(batch), strict=True))
        say(AnswersReport(answered=len(batch)))
    return [answers[place] for place in range(len(lengths))]


ANSWERING = Work(
    name="inference",
    place=f"{__name__}:ANSWERING",
    job=InferenceJob,
    report=AnswersReport,
    failure=EvaluationFailed,
    begin=begin_answering,
    settings=("inference_workers", "evaluation_batch_size"),
)
