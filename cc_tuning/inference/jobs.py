"""The seam between the evaluation stage and whatever answers prompts.

It is made of files, so that it works across a process boundary: an engine is given a job (one run, its shards) and
writes predictions. Prompts arrive as token ids, rendered once by the code that rendered them for training; an engine
needs no chat template. One engine process serves all shards of a run; each shard has a marker of its own, so a kill
loses at most the shard in flight.

    JOB.folder/requests/<benchmark>-<language>.parquet              EvaluationRequest, written by the stage
    JOB.folder/predictions/<connection>/<benchmark>-<language>.parquet   Prediction, written by the engine, with marker
"""

import sys
from pathlib import Path
from typing import Literal, Protocol

import dataframely as dy
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.errors import EvaluationFailed
from cc_tuning.model import ConnectionMode
from cc_tuning.runtime.execution import Attention
from cc_tuning.runtime.progress import Progress
from cc_tuning.runtime.subprocesses import progress_lines, run_worker
from data_contracts.files import written_atomically
from data_contracts.schemas import BENCHMARKS
from data_contracts.shards import Shards

JOB_FILE = "job.json"


class EvaluationRequest(dy.Schema):
    """One prompt to answer, as the token ids of the rendered generation prompt."""

    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    input_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=1)
    english_input_ids = dy.List(dy.Int32(nullable=False), nullable=True, min_length=1)


class EvaluationShard(BaseModel):
    """The items of one benchmark and language through one kind of connection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connection: ConnectionMode
    benchmark: str
    language: str = Field(pattern=r"^[a-z]{2,3}$")
    items: int = Field(ge=1, description="How many requests it answers, for progress.")

    @property
    def requests_name(self) -> str:
        """The file of its requests below the job's folder."""
        return f"requests/{self.benchmark}-{self.language}.parquet"

    @property
    def predictions_name(self) -> str:
        """The file of its predictions below the job's folder."""
        return f"predictions/{self.connection}/{self.benchmark}-{self.language}.parquet"

    def requests_of(self, requests: pl.DataFrame) -> pl.DataFrame:
        """Those requests it answers: with the real English prompt only items that have one."""
        return requests.filter(pl.col("english_input_ids").is_not_null()) if self.connection == "parallel" else requests


class EvaluationJob(BaseModel):
    """Everything an engine needs to know; written as JSON for its process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    checkpoint: Path
    transform_matrix: Path | None
    """None for a run without a connection."""
    folder: Path
    shards: tuple[EvaluationShard, ...]
    max_new_tokens: int
    batch_size: int
    device: Literal["auto", "cpu", "cuda"]
    threads: int
    attention: Attention

    @property
    def finished(self) -> Shards:
        """The markers of shards below the job's folder."""
        return Shards(self.folder)

    @property
    def open_shards(self) -> tuple[EvaluationShard, ...]:
        """The shards that still have to be answered."""
        return tuple(shard for shard in self.shards if not self.finished.is_done(shard.predictions_name))


class Engine(Protocol):
    """Answers prompts greedily, at most `max_new_tokens` each."""

    def answer(self, job: EvaluationJob, progress: Progress) -> None:
        """Write the predictions of every open shard of `job`, each with its marker.

        Raises:
            EvaluationFailed: the engine stopped early; finished shards stay.
        """


class TransformersEngine:
    """The reference: `transformers` in a worker process, batches of prompts of similar length."""

    def answer(self, job: EvaluationJob, progress: Progress) -> None:
        path = job.folder / JOB_FILE
        with written_atomically(path) as temporary:
            temporary.write_text(job.model_dump_json(indent=2), encoding="utf-8")
        run_worker(
            [sys.executable, "-m", "cc_tuning.inference.worker", str(path)],
            name=f"evaluation of {job.run}",
            failure=EvaluationFailed,
            on_line=progress_lines(progress),
        )
