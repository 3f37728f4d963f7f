"""The files of a job: what is asked and what was answered, a contract for each kind of request."""

from collections.abc import Sequence

import dataframely as dy
import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.inference.engines import RequestKind
from cc_tuning.inference.generating import Answer
from cc_tuning.inference.jobs import InferenceJob, InferenceShard
from cc_tuning.inference.loglikelihoods import ContinuationScore
from cc_tuning.inference.prompts import Prompt
from data_contracts.parquet import read_parquet, write_parquet


class GenerateRow(dy.Schema):
    """One prompt to continue, as the token ids of the rendered generation prompt."""

    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    input_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=1)
    english_input_ids = dy.List(dy.Int32(nullable=False), nullable=True, min_length=1)
    """Of the English prompt, for the connections that read one; for `other` it is another prompt's."""


class LogLikelihoodRow(GenerateRow):
    """One prompt, and the continuations whose log-probabilities are asked for."""

    continuation_ids = dy.List(
        dy.List(dy.Int32(nullable=False), nullable=False, min_length=1), nullable=False, min_length=1
    )


class GeneratedRow(dy.Schema):
    """What a model wrote after one prompt."""

    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    token_ids = dy.List(dy.Int32(nullable=False), nullable=False)
    """Without the token that stopped it."""
    stopped = dy.Bool(nullable=False)
    selected_layer = dy.Int32(nullable=True, min=0)


class ScoredRow(dy.Schema):
    """How likely a model finds the continuations of one prompt, in the order in which they were asked for."""

    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    log_likelihoods = dy.List(dy.Float64(nullable=False, max=0.0), nullable=False, min_length=1)
    """The sum over the tokens of each, in nats."""
    are_greedy = dy.List(dy.Bool(nullable=False), nullable=False, min_length=1)
    """Whether greedy decoding would write it."""
    selected_layer = dy.Int32(nullable=True, min=0)


_ASKED: dict[RequestKind, type[GenerateRow]] = {"generate": GenerateRow, "loglikelihood": LogLikelihoodRow}
_ANSWERED: dict[RequestKind, type[dy.Schema]] = {"generate": GeneratedRow, "loglikelihood": ScoredRow}


def write_requests(job: InferenceJob, shard: InferenceShard, rows: pl.DataFrame) -> None:
    """What an engine is asked in one shard: GenerateRow or LogLikelihoodRow."""
    write_parquet(rows, job.wanted(shard.name), _ASKED[shard.request.kind])


def read_requests(job: InferenceJob, shard: InferenceShard) -> pl.DataFrame:
    """The rows that `write_requests` wrote."""
    return read_parquet(job.wanted(shard.name), _ASKED[shard.request.kind])


def prompts_of(rows: pl.DataFrame, shard: InferenceShard) -> list[Prompt]:
    """The prompts of a shard's rows, in their order."""
    columns = rows.select("item_id", "input_ids", "english_input_ids").iter_rows()
    return [Prompt(item_id, ids, english, shard.is_english, shard.language) for item_id, ids, english in columns]


def write_generated(job: InferenceJob, shard: InferenceShard, ids: Sequence[str], answers: Sequence[Answer]) -> None:
    """The answers of a whole shard, and its marker."""
    columns = {
        "item_id": pl.Series(ids, dtype=pl.String),
        "token_ids": pl.Series([answer.token_ids for answer in answers], dtype=pl.List(pl.Int32)),
        "stopped": pl.Series([answer.stopped for answer in answers], dtype=pl.Boolean),
        "selected_layer": pl.Series([answer.selected_layer for answer in answers], dtype=pl.Int32),
    }
    _finish(job, shard, pl.DataFrame(columns))


def write_scored(
    job: InferenceJob, shard: InferenceShard, ids: Sequence[str], scores: Sequence[Sequence[ContinuationScore]]
) -> None:
    """The scores of a whole shard, those of each prompt's continuations together, and its marker."""
    columns = {
        "item_id": pl.Series(ids, dtype=pl.String),
        "log_likelihoods": pl.Series(
            [[score.log_likelihood for score in of_prompt] for of_prompt in scores], dtype=pl.List(pl.Float64)
        ),
        "are_greedy": pl.Series(
            [[score.is_greedy for score in of_prompt] for of_prompt in scores], dtype=pl.List(pl.Boolean)
        ),
        "selected_layer": pl.Series([of_prompt[0].selected_layer for of_prompt in scores], dtype=pl.Int32),
    }
    _finish(job, shard, pl.DataFrame(columns))


def _finish(job: InferenceJob, shard: InferenceShard, rows: pl.DataFrame) -> None:
    write_parquet(rows, job.finished.path(shard.name), _ANSWERED[shard.request.kind])
    job.finished.mark_done(shard.name, prompts=shard.prompts)


def read_answers(job: InferenceJob, shard: InferenceShard, asked: Sequence[str]) -> pl.DataFrame:
    """What an engine answered in one shard: GeneratedRow or ScoredRow, in the order of the ids that were asked.

    Raises:
        EvaluationFailed: the engine left the shard open, or answered something else than what it was asked.
    """
    path = job.finished.path(shard.name)
    if not job.finished.is_done(shard.name):
        raise EvaluationFailed(f"{path}: the engine ended and left this shard open; run the stage again")
    answers = read_parquet(path, _ANSWERED[shard.request.kind])
    wanted, found = set(asked), set(answers["item_id"])
    missing = [item_id for item_id in asked if item_id not in found]
    extra = [item_id for item_id in answers["item_id"] if item_id not in wanted]
    if missing or extra:
        raise EvaluationFailed(
            f"{path}: {answers.height} answers to {len(asked)} prompts; {len(missing)} prompts have none (first "
            f"{missing[:3]}), {len(extra)} answers are to no prompt (first {extra[:3]}). Delete the file and run the "
            "stage again"
        )
    return pl.DataFrame({"item_id": asked}, schema={"item_id": pl.String}).join(
        answers, on="item_id", how="left", validate="1:1", maintain_order="left"
    )
