"""The stage `reference`: what the model that training starts from says of each preference row, before it is trained.

    log ref(y | x) = sum_t log ref(y_t | x, y_<t)        of the four sequences of a row, in nats

Computed once for a model and rows, so training never holds a second model: CLO's reference is the base model, that of
SFT+DPO the fine-tuned one, and with adapters it is the model without them. The passes are float32 whatever training's
dtype is. A prompt is read once for both of its responses.

Rows go to the workers of the inference engine in shards, each kept with a marker, so a kill loses at most those in
flight and the number of workers changes no byte on a CPU. `summary.json` says which rows and which model the values
are of; training refuses others.
"""

import shutil
from pathlib import Path

import polars as pl

from cc_tuning.inference.engines import ENGINES
from cc_tuning.inference.job_files import read_answers, write_requests
from cc_tuning.inference.jobs import Engine, InferenceJob, InferenceShard, LogLikelihood
from cc_tuning.runtime.devices import limited_threads
from cc_tuning.runtime.jobs import WANTED
from cc_tuning.runtime.progress import counting
from cc_tuning.runtime.step import Build
from cc_tuning.training.objectives.config import ReferenceConfig
from cc_tuning.training.reference_values import VALUES, reference_summary
from data_contracts.files import write_json
from data_contracts.layout import PREFERENCE_ROWS, REFERENCE_SUMMARY, REFERENCE_VALUES
from data_contracts.manifest import RowCounts
from data_contracts.parquet import write_parquet
from data_contracts.parquet_stream import read_batches, row_count
from data_contracts.schemas import PreferenceRow, ReferenceRow

FOLDER = "log_probabilities"
"""Of the values, below the artifact's shards."""
_SIDES = (("target", "prompt_length", "chosen_ids", "rejected_ids"),
          ("english", "english_prompt_length", "english_chosen_ids", "english_rejected_ids"))  # fmt: skip
"""The two prompts of a row: a name for the id, the prompt's length, and the sequences with its two responses."""


def build_reference(build: Build[ReferenceConfig]) -> RowCounts:
    """Writes a ReferenceRow for each preference row, and the summary; all rows are kept.

    Raises:
        EvaluationFailed: a worker stopped; what it finished is kept for the next try.
        UnsupportedModel, ArtifactMismatch: the model or the rows are missing, damaged, or cannot be used.
    """
    return reference_with(ENGINES[build.config.engine].load(), build)


def reference_with(engine: Engine, build: Build[ReferenceConfig]) -> RowCounts:
    """As `build_reference`, the model asked by `engine`."""
    source = build.inputs["rows"].path / PREFERENCE_ROWS
    total = row_count(source)
    job, row_ids = _write_requests(source, build)
    waiting = job.of_open_shards()
    count = counting(build.progress, 0, 2 * total, "prompts")
    if done_before := 2 * total - sum(shard.prompts for shard in waiting.shards):
        count(done_before)
    if waiting.shards:
        with limited_threads(build.execution.threads):
            engine.answer(waiting, count, build.run_all)
    values = [_values(job, shard, ids) for shard, ids in zip(job.shards, row_ids, strict=True)]
    write_parquet(pl.concat(values), build.folder / REFERENCE_VALUES, ReferenceRow)
    summary = {"rows": total, "dtype": build.config.dtype, **reference_summary(source, build.inputs["base"])}
    write_json(build.folder / REFERENCE_SUMMARY, summary)
    shutil.rmtree(build.folder / WANTED, ignore_errors=True)
    return RowCounts(read=total, kept=total)


def _write_requests(source: Path, build: Build[ReferenceConfig]) -> tuple[InferenceJob, list[list[str]]]:
    """The job of all shards and the row ids of each; what an open shard is asked is on the disk."""
    job = InferenceJob(
        checkpoint=build.inputs["base"],
        dtype=build.config.dtype,
        execution=build.execution,
        folder=build.folder.absolute(),
    )
    shards, row_ids, first = [], [], 0
    for rows in read_batches(source, PreferenceRow, build.execution.reference_shard_rows):
        shard = InferenceShard(
            name=f"{FOLDER}/{first:08d}-{first + rows.height - 1:08d}.parquet",
            connection="off",
            request=LogLikelihood(),
            is_english=False,
            prompts=2 * rows.height,
        )
        if not job.finished.is_done(shard.name):
            write_requests(job, shard, _requests(rows))
        shards.append(shard)
        row_ids.append(rows["row_id"].to_list())
        first += rows.height
    job = job.model_copy(update={"shards": tuple(shards)})
    job.remove_strays()
    return job, row_ids


def _requests(rows: pl.DataFrame) -> pl.DataFrame:
    """LogLikelihoodRow: each prompt with its chosen and its rejected response, the end-of-turn token among them."""
    asked = [
        (
            f"{row['row_id']}/{side}",
            row[chosen][: row[length]],
            [row[name][row[length] :] for name in (chosen, rejected)],
        )
        for side, length, chosen, rejected in _SIDES
        for row in rows.iter_rows(named=True)
    ]
    ids = pl.List(pl.Int32)
    schema = pl.Schema({"item_id": pl.String(), "input_ids": ids, "continuation_ids": pl.List(ids)})
    frame = pl.DataFrame(asked, schema=schema, orient="row")
    return frame.with_columns(pl.lit(None, ids).alias("english_input_ids"))


def _values(job: InferenceJob, shard: InferenceShard, row_ids: list[str]) -> pl.DataFrame:
    """The ReferenceRows of a finished shard, in the order of `row_ids`."""
    asked = [f"{row_id}/{side}" for side, *_ in _SIDES for row_id in row_ids]
    pairs = read_answers(job, shard, asked)["log_likelihoods"].to_list()
    targets, english = pairs[: len(row_ids)], pairs[len(row_ids) :]
    rows = [(row_id, *own, *of_english) for row_id, own, of_english in zip(row_ids, targets, english, strict=True)]
    return pl.DataFrame(rows, schema=["row_id", *VALUES], orient="row").cast(dict.fromkeys(VALUES, pl.Float32))
