"""The engine vllm: the shards of a job answered by vLLM, in its own environment or behind an address.

Workers are those of the engine transformers, one per GPU: each reads the same files and writes the same ones, a shard's
marker after its file, and asks a vLLM of its own, or the servers of `execution.vllm_url`. Which of the two, and where,
changes no identity. The control `constant` adds a vector that is computed from all prompts of a shard, which vLLM
has no request for: its shards go to the engine transformers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from cc_tuning.errors import EvaluationFailed
from cc_tuning.inference.job_files import prompts_of, read_requests, write_generated, write_scored
from cc_tuning.inference.jobs import Generate, InferenceJob, InferenceShard, OnAnswers
from cc_tuning.inference.loglikelihoods import Candidates
from cc_tuning.inference.prompts import Prompt
from cc_tuning.inference.transformers_engine import AnswersReport, TransformersEngine
from cc_tuning.inference.vllm.address import Patience, VllmAddresses
from cc_tuning.inference.vllm.process import VllmProcess, require_interpreter
from cc_tuning.inference.vllm.requests import (
    Asker,
    VllmRequest,
    answer_of,
    generation,
    likelihood_requests,
    scores_of,
    switches_of,
)
from cc_tuning.inference.vllm.served import dtype_of, english_of, name_of_model, needed_context, with_served_model
from cc_tuning.runtime.jobs import MakeShard, Say, Work
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_job

ItemT = TypeVar("ItemT")


class VllmEngine:
    """vLLM for every shard but those of the control `constant`."""

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        for_vllm, for_transformers = _shared_out(job)

        def on_report(report: AnswersReport) -> None:
            on_answers(report.answered)

        if for_vllm.shards:
            if not job.execution.vllm_url:
                require_interpreter(job.execution.vllm_python)
            served = with_served_model(for_vllm)
            workers = 1 if job.execution.vllm_url else job.execution.inference_workers
            run_job(ANSWERING, served, on_report, run_all, workers)
        if for_transformers.shards:
            TransformersEngine().answer(for_transformers, on_answers, run_all)


def _shared_out(job: InferenceJob) -> tuple[InferenceJob, InferenceJob]:
    """The job's shards for vLLM, and those for transformers."""
    is_constant = [shard.connection == "constant" for shard in job.shards]
    parts = [
        tuple(shard for shard, constant in zip(job.shards, is_constant, strict=True) if constant == wanted)
        for wanted in (False, True)
    ]
    return job.model_copy(update={"shards": parts[0]}), job.model_copy(update={"shards": parts[1]})


def begin_answering(job: InferenceJob) -> MakeShard[AnswersReport]:
    """The function that answers shards, the model loaded by vLLM.

    Raises:
        ConfigError, UnsupportedModel: there is no vLLM as it is needed, or it refuses the model.
    """
    directory = job.checkpoint.path
    english = english_of(directory)
    context = needed_context(
        directory, (request for shard in job.shards for asked in requests_of(job, shard, english) for request in asked)
    )
    asker = _asker(job, directory, context)

    def answer(shard: InferenceShard, say: Say[AnswersReport]) -> None:
        answer_shard(asker, job, shard, english, say)

    return answer


def _asker(job: InferenceJob, directory: Path, context: int) -> Asker:
    """A vLLM that has loaded the model in `directory`, with room for `context` tokens."""
    execution = job.execution
    if execution.vllm_url:
        name = name_of_model(directory)
        return VllmAddresses(execution.vllm_url, name, execution.vllm_key_variable, Patience())
    arguments = {"max_model_len": context, "dtype": dtype_of(directory, job.dtype)}
    return VllmProcess(execution.vllm_python, directory, arguments, execution.threads)


def requests_of(job: InferenceJob, shard: InferenceShard, english: str | None) -> list[list[VllmRequest]]:
    """What is asked for each prompt of a shard."""
    rows, request = read_requests(job, shard), shard.request
    prompts = prompts_of(rows, shard)
    switches = [None if english is None else switches_of(prompt, shard.connection, english) for prompt in prompts]
    if isinstance(request, Generate):
        return [[generation(prompt, request, switch)] for prompt, switch in zip(prompts, switches, strict=True)]
    candidates: list[Candidates] = rows["continuation_ids"].to_list()
    asked = zip(prompts, candidates, switches, strict=True)
    return [likelihood_requests(prompt, of_prompt, switch) for prompt, of_prompt, switch in asked]


def answer_shard(
    asker: Asker, job: InferenceJob, shard: InferenceShard, english: str | None, say: Say[AnswersReport]
) -> None:
    """Answer what `shard` wants and write it, marker last."""
    rows = read_requests(job, shard)
    prompts: list[Prompt] = prompts_of(rows, shard)
    asked = requests_of(job, shard, english)
    answers = asker.ask([request for of_prompt in asked for request in of_prompt])
    by_prompt = _regrouped(answers, [len(of_prompt) for of_prompt in asked])
    ids = [prompt.id for prompt in prompts]
    if isinstance(shard.request, Generate):
        made = [answer_of(request, answer) for (request,), (answer,) in zip(asked, by_prompt, strict=True)]
        write_generated(job, shard, ids, made)
    else:
        candidates: list[Candidates] = rows["continuation_ids"].to_list()
        of_prompts = zip(candidates, asked, by_prompt, prompts, strict=True)
        scores = [
            scores_of(of_prompt, requests, said, len(prompt.input_ids))
            for of_prompt, requests, said, prompt in of_prompts
        ]
        write_scored(job, shard, ids, scores)
    say(AnswersReport(answered=len(ids)))


def _regrouped(items: Sequence[ItemT], sizes: Sequence[int]) -> list[Sequence[ItemT]]:
    """`items` cut into runs of the given sizes."""
    groups, first = [], 0
    for size in sizes:
        groups.append(items[first : first + size])
        first += size
    return groups


ANSWERING = Work(
    name="vLLM",
    place=f"{__name__}:ANSWERING",
    job=InferenceJob,
    report=AnswersReport,
    failure=EvaluationFailed,
    begin=begin_answering,
    settings=("inference_workers", "evaluation_batch_size"),
)
