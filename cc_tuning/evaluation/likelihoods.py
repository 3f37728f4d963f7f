"""The likelihoods of given answers: what an engine is asked for them, and the rows that come of what it tells.

They need one pass over a prompt where an answer needs forty, they move with every item where accuracy moves with few,
and they are there for the controls of the connection too. Their shards stand beside those of the answers, below
`likelihood/`.
"""

from collections.abc import Iterator, Sequence

import polars as pl

from cc_tuning.errors import EvaluationFailed
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.candidates import GOLD
from cc_tuning.evaluation.competitors import EvaluationMode
from cc_tuning.evaluation.items import ITEM_KEY
from cc_tuning.evaluation.requests import Group, PlannedShard, planned_shards
from cc_tuning.inference.job_files import read_answers
from cc_tuning.inference.jobs import InferenceJob, LogLikelihood
from data_contracts.schemas import CandidateLikelihood


def plan_likelihoods(groups: Sequence[Group], modes: Sequence[EvaluationMode]) -> Iterator[PlannedShard]:
    """The shards of the likelihoods, for each mode, benchmark and language that takes part in it.

    With `parallel`, `constant`, `context` and `other` these are the items that have an English prompt; the last leaves
    out one for which there is no other.
    """
    for mode in modes:
        for group in groups:
            yield from planned_shards(f"likelihood/{mode}", mode, LogLikelihood(), group)


def read_likelihoods(job: InferenceJob, planned: PlannedShard, run: str) -> pl.DataFrame:
    """The CandidateLikelihood rows of one shard: each option where the benchmark has some, and the gold answer.

    Raises:
        EvaluationFailed: the engine did not answer what it was asked.
    """
    answers = read_answers(job, planned.shard, planned.rows["item_id"].to_list())
    _check_numbers(job, planned, answers)
    scored = (
        planned.rows.select(
            *ITEM_KEY,
            "gold",
            candidate="candidates",
            bytes="candidate_bytes",
            tokens=pl.col("continuation_ids").list.eval(pl.element().list.len().cast(pl.Int32)),
        )
        .hstack(
            answers.select(log_likelihood="log_likelihoods", is_greedy="are_greedy", selected_layer="selected_layer")
        )
        .explode("candidate", "bytes", "tokens", "log_likelihood", "is_greedy")
        .with_columns(
            run=pl.lit(run),
            connection=pl.lit(planned.mode),
        )
    )
    gold = scored.filter(pl.col("candidate") == pl.col("gold")).with_columns(candidate=pl.lit(GOLD))
    rows = [gold, scored] if BENCHMARKS[planned.benchmark].options else [gold]
    return pl.concat(rows).select(CandidateLikelihood.column_names())


def _check_numbers(job: InferenceJob, planned: PlannedShard, answers: pl.DataFrame) -> None:
    """An engine that has not one figure for each continuation has answered something else."""
    asked = planned.rows["continuation_ids"].list.len()
    wrong = (answers["log_likelihoods"].list.len() != asked) | (answers["are_greedy"].list.len() != asked)
    if wrong.any():
        raise EvaluationFailed(
            f"{job.finished.path(planned.shard.name)}: {int(wrong.sum())} prompts have not one score for each "
            f"continuation, first {answers.filter(wrong)['item_id'].to_list()[:3]}; mend the engine, delete the file "
            "and run the stage again"
        )
