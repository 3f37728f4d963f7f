"""The process of the `transformers` engine: `python -m cc_tuning.inference.worker JOB.json`.

Loads the checkpoint once and answers the job's open shards one after the other. A shard's marker is written after its
file, so a killed worker leaves whole shards and at most one to do again.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from cc_tuning.inference.greedy import Answer, GreedyAnswerer, longest_first
from cc_tuning.inference.jobs import EvaluationJob, EvaluationRequest, EvaluationShard
from cc_tuning.model import load_checkpoint
from cc_tuning.runtime.devices import resolve_device
from cc_tuning.runtime.progress import Progress
from cc_tuning.runtime.subprocesses import tell_progress
from cc_tuning.text.prompts import load_tokenizer
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.schemas import Prediction

logger = logging.getLogger(__name__)


def answer_job(job: EvaluationJob, progress: Progress) -> None:
    """Answer every open shard of `job`.

    Raises:
        UnsupportedModel, ConfigError, ArtifactMismatch: the checkpoint cannot be used.
    """
    torch.set_num_threads(job.threads)
    device = resolve_device(job.device)
    model = load_checkpoint(
        job.checkpoint, device=device, transform_matrix=job.transform_matrix, attention=job.attention
    )
    tokenizer = load_tokenizer(job.checkpoint)
    answerer = GreedyAnswerer(model, tokenizer, job.max_new_tokens)
    open_shards = job.open_shards
    total = sum(shard.items for shard in job.shards)
    done = total - sum(shard.items for shard in open_shards)
    for shard in open_shards:
        requests = shard.requests_of(read_parquet(job.folder / shard.requests_name, EvaluationRequest))

        def count(answered: int, before: int = done) -> None:
            progress(before + answered, total, "items")

        answers = answer_shard(answerer, shard, requests, job.batch_size, count)
        path = job.finished.path(shard.predictions_name)
        write_parquet(_predictions(job.run, shard, requests, answers, tokenizer), path, Prediction)
        job.finished.mark_done(shard.predictions_name, items=shard.items)
        done += shard.items


def answer_shard(
    answerer: GreedyAnswerer,
    shard: EvaluationShard,
    requests: pl.DataFrame,
    batch_size: int,
    count: Callable[[int], None],
) -> list[Answer]:
    """One answer per request, in the order of `requests`."""
    prompts: list[list[int]] = requests["input_ids"].to_list()
    english: list[list[int]] = requests["english_input_ids"].to_list() if shard.connection == "parallel" else []
    answers: dict[int, Answer] = {}
    for batch in longest_first(prompts, batch_size):
        answered = answerer.answer_batch(
            [prompts[row] for row in batch],
            [english[row] for row in batch] if english else None,
            shard.connection,
            shard.language,
        )
        answers |= dict(zip(batch, answered, strict=True))
        count(len(answers))
    return [answers[row] for row in range(len(prompts))]


def _predictions(
    run: str,
    shard: EvaluationShard,
    requests: pl.DataFrame,
    answers: list[Answer],
    tokenizer: PreTrainedTokenizerBase,
) -> pl.DataFrame:
    return requests.select(
        "benchmark",
        "language",
        "item_id",
        run=pl.lit(run),
        connection=pl.lit(shard.connection),
        response=pl.Series([tokenizer.decode(answer.token_ids, skip_special_tokens=True) for answer in answers]),
        prompt_tokens=pl.col("input_ids").list.len(),
        new_tokens=pl.Series([len(answer.token_ids) + answer.stopped for answer in answers]),
        stopped=pl.Series([answer.stopped for answer in answers]),
        selected_layer=pl.Series([answer.selected_layer for answer in answers], dtype=pl.Int32),
    )


def main(job_file: Path) -> None:
    """Answer the job in `job_file`, telling progress on stdout and everything else on stderr."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    disable_progress_bar()  # stderr is kept for what went wrong
    answer_job(EvaluationJob.model_validate_json(job_file.read_text(encoding="utf-8")), tell_progress)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
