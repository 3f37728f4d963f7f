"""The seam between a stage that has prompts and whatever answers them.

It is made of files, so that it works across a process boundary: an engine is given a job (one checkpoint, its shards)
and writes answers. Prompts arrive as token ids, rendered once by the code that rendered them for training; an engine
needs neither chat template nor tokenizer. Each shard has a marker of its own, so a kill loses at most those in flight.

    JOB.folder/wanted/<name>    GenerateRow or LogLikelihoodRow, written by the stage  (inference/job_files.py)
    JOB.folder/shards/<name>    GeneratedRow or ScoredRow, written by the engine, with marker
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.model.config import ConnectionMode
from cc_tuning.runtime.jobs import Job, Shard
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.threads import RunAll

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class Sampling(BaseModel):
    """How tokens are drawn. A prompt's draws depend on `seed` and its id alone, not on the batch it is in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1, description="The most likely tokens with at least this share of all.")
    seed: int = Field(default=0, ge=0)


class Generate(BaseModel):
    """A request for the continuation of a prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["generate"] = "generate"
    max_new_tokens: int = Field(ge=1)
    stop_token_ids: tuple[int, ...] = Field(min_length=1, description="Each ends an answer and is no part of it.")
    sampling: Sampling | None = Field(default=None, description="Unset, each token is the most likely one (greedy).")


class LogLikelihood(BaseModel):
    """A request for the log-probabilities of given continuations of a prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["loglikelihood"] = "loglikelihood"


Request = Annotated[Generate | LogLikelihood, Field(discriminator="kind")]


class InferenceShard(Shard):
    """Prompts that are asked in one way, through one kind of connection."""

    connection: ConnectionMode
    request: Request
    is_english: bool = Field(description="Whether the prompts are English; for `connection.english: identity`.")
    language: str = Field(
        default="",
        description="FLORES code of the prompts, for a map with an intercept for each language.",
    )
    prompts: int = Field(ge=1)

    @property
    def size(self) -> int:
        return self.prompts


class InferenceJob(Job[InferenceShard]):
    """Everything an engine needs to know."""

    checkpoint: Location
    """A model directory, or a hub id with its revision; with a connection or without."""
    transform_matrix: Path | None = None
    """The file of a transform artifact; without one, the matrix inside the checkpoint is used, if there is one."""
    dtype: Dtype = "auto"
    """Of the weights; `auto` is that of the files."""

    @property
    def is_local(self) -> bool:
        return self.checkpoint.is_local


OnAnswers = Callable[[int], None]
"""Told how many prompts were answered more, once per batch and from any thread."""


class Engine(Protocol):
    """Answers the prompts of a job."""

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        """Write the answers of every shard of `job`, each with its marker.

        Whoever asks leaves out the shards that are whole (`job.of_open_shards()`).

        Raises:
            EvaluationFailed: a worker of the engine died; finished shards stay.
            ConfigError, UnsupportedModel, ArtifactMismatch: the checkpoint cannot be used as asked.
        """
