"""Stage `evaluate`: answer the benchmark items with one run's checkpoint, and score the answers.

A CC-tuned checkpoint answers three ways: with its Transform Matrix, with the connection off, and with the real English
prompt where the item has one (the upper reference); only the three together tell what the matrix is worth. In each of
them, and through the controls of the connection, it also tells how likely it finds the gold answer and the options.
Where the recipe asks for competitors, any checkpoint also answers with the English version before the prompt as text,
and with what the stage `pivot` made in the place of the real English prompt.

The work is cut into shards (mode, benchmark, language; likelihoods in shards of their own), each with a marker;
the merged predictions and likelihoods get a marker too, after which the shards are removed. So whatever a kill or a
damaged file leaves, no finished shard is answered twice, and scoring again needs no model.

Files: `predictions.parquet` (Prediction), `likelihoods.parquet` (CandidateLikelihood) unless the recipe leaves them
out, each with its marker; `item_scores.parquet` (ItemScore), `scores.parquet` (Score), `quarantine.parquet`,
`scoring.json` (what decides the figures beside the config: tokenizers, versions).
"""

import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dataframely as dy
import polars as pl
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.competitors import ENGLISH, id_columns
from cc_tuning.evaluation.config import NEED_PIVOT, Competitor, EvaluationConfig, RunEvaluation
from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.evaluation.likelihood_scores import score_likelihoods
from cc_tuning.evaluation.likelihoods import plan_likelihoods, read_likelihoods
from cc_tuning.evaluation.requests import (
    PlannedShard,
    Requests,
    generate_request,
    grouped,
    plan_again,
    plan_answers,
    read_predictions,
    render_requests,
    with_later_tries,
    write_shard,
)
from cc_tuning.evaluation.scoring import aggregate_scores, measured_with, score_predictions
from cc_tuning.inference.checkpoints import connection_modes
from cc_tuning.inference.engines import ENGINES
from cc_tuning.inference.jobs import Engine, InferenceJob
from cc_tuning.model.config import ConnectionMode
from cc_tuning.runtime.pretrained import load_config
from cc_tuning.runtime.progress import counting
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from data_contracts.files import write_json
from data_contracts.layout import ITEM_SCORES, LIKELIHOODS, PIVOT_PROMPTS, PREDICTIONS, SCORES, SCORING
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import check_quarantine_limit, write_quarantine
from data_contracts.schemas import CandidateLikelihood, ItemScore, PivotPrompt, Prediction, Score
from data_contracts.shards import Shards

logger = logging.getLogger(__name__)

_WORK = "work"


def build_evaluation(build: Build[RunEvaluation]) -> RowCounts:
    """Answer and score with the recipe's engine.

    The input `checkpoint` is a run's, the base model before any tuning, or one from elsewhere; a directory, or a hub id
    with its revision. The input `transform`, if there is one, takes the place of the matrix inside the checkpoint, and
    `instructions`, if there is one, is a directory of more items beside `items`.

    Raises:
        ConfigError: there is nothing to evaluate, or a matrix was given for a checkpoint without a connection.
        UnsupportedModel: the checkpoint has no usable tokenizer, or a connection in a family that has none.
        ContractViolation: more item rows are broken than the limit allows.
        EvaluationFailed: the engine stopped; what it finished is kept for the next try.
    """
    return evaluate_with(ENGINES[build.config.evaluation.engine].load(), build)


def evaluate_with(engine: Engine, build: Build[RunEvaluation]) -> RowCounts:
    """Answer and score with `engine`; raises as `build_evaluation`."""
    config = build.config.evaluation
    loaded = load_items(*(build.inputs[name].path for name in ("items", "instructions") if name in build.inputs))
    broken = dict(loaded.quarantined.group_by("rule").len().iter_rows())
    check_quarantine_limit("evaluate", loaded.read, broken, build.execution.quarantine_limit)
    items = select_items(loaded.items, config.benchmarks, config.languages, config.items_per_language)
    checkpoint = _open_checkpoint(build)
    requests = _render(build, checkpoint, items)
    _answer(engine, build, checkpoint, requests.rows, items)
    _score(build, items, _without_pivot(requests.rows))
    counts = write_quarantine(build.folder, [loaded.quarantined, requests.quarantined])
    shutil.rmtree(build.folder / _WORK, ignore_errors=True)
    not_selected = loaded.items.height - items.height
    return RowCounts(read=loaded.read, kept=requests.rows.height, quarantined=counts, not_selected=not_selected)


@dataclass(frozen=True)
class _Checkpoint:
    """What is evaluated, as far as this process needs it."""

    location: Location
    transform_matrix: Path | None
    connections: tuple[ConnectionMode, ...]
    tokenizer: PreTrainedTokenizerBase
    prompts: ChatPrompts

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection to its English side."""
        return "parallel" in self.connections

    def competitors(self, config: EvaluationConfig) -> tuple[Competitor, ...]:
        """Those that it can be asked for."""
        return tuple(name for name in config.competitors if self.is_connected or name != "pivot")


def _open_checkpoint(build: Build[RunEvaluation]) -> _Checkpoint:
    location, transform = build.inputs["checkpoint"], build.inputs.get("transform")
    matrix = transform.path if transform else None
    connections = connection_modes(location, matrix)
    tokenizer = load_tokenizer(location, build.config.chat_template)
    return _Checkpoint(location, matrix, connections, tokenizer, ChatPrompts(tokenizer))


def _render(build: Build[RunEvaluation], checkpoint: _Checkpoint, items: pl.DataFrame) -> Requests:
    config = build.config.evaluation
    competitors = checkpoint.competitors(config)
    requests = render_requests(
        items,
        checkpoint.prompts,
        with_english=checkpoint.is_connected,
        context_tokens=load_config(checkpoint.location).max_position_embeddings,
        max_new_tokens=config.new_tokens_of,
        with_likelihoods=config.likelihoods,
        seed=config.seed,
        competitors=competitors,
        pivots=_pivots(build) if NEED_PIVOT.intersection(competitors) else None,
    )
    if requests.quarantined.height:
        logger.warning("%d of %d items do not fit the model's context", requests.quarantined.height, items.height)
    if not requests.rows.height:
        raise ConfigError(
            f"no item to evaluate: each of the {items.height} prompts is longer than the context of "
            f"{checkpoint.location.name}; use shorter items or a model with a longer context"
        )
    return requests


def _pivots(build: Build[RunEvaluation]) -> pl.DataFrame:
    """The English prompts that the translator made."""
    if "pivot" not in build.inputs:
        raise ConfigError(
            f"evaluation.competitors has {', '.join(build.config.evaluation.competitors)}, and the step was given no "
            "translated prompts; give the artifact of the stage `pivot` as the input `pivot`"
        )
    return read_parquet(build.inputs["pivot"].path / PIVOT_PROMPTS, PivotPrompt)


def _answer(
    engine: Engine, build: Build[RunEvaluation], checkpoint: _Checkpoint, requests: pl.DataFrame, items: pl.DataFrame
) -> None:
    """Write the merged predictions and likelihoods, as far as they are not there and sound, shard by shard."""
    config, merged = build.config.evaluation, Shards(build.folder)
    groups, modes = grouped(requests), (*checkpoint.connections, *checkpoint.competitors(config))
    generate = partial(generate_request, config, stop_ids=checkpoint.prompts.stop_token_ids)
    planned: dict[str, list[PlannedShard]] = {
        PREDICTIONS: list(plan_answers(groups, modes, generate, checkpoint.prompts))
    }
    if config.likelihoods:
        controls = config.controls if checkpoint.is_connected else ()
        planned[LIKELIHOODS] = list(plan_likelihoods(groups, (*modes, *controls)))
    open_files = {name: shards for name, shards in planned.items() if not merged.is_done(name)}
    if not open_files:
        logger.info("%s: all there, only the scores are made again", " and ".join(planned))
        return
    job = _answer_shards(engine, build, checkpoint, [shard for shards in open_files.values() for shard in shards])
    run, tokenizer = build.config.run, checkpoint.tokenizer
    if PREDICTIONS in open_files:
        answers = [read_predictions(job, shard, run, tokenizer) for shard in open_files[PREDICTIONS]]
        answers = _with_tries(engine, build, checkpoint, open_files[PREDICTIONS], answers, items)
        _merge(merged, PREDICTIONS, answers, Prediction)
    if LIKELIHOODS in open_files:
        likelihoods = [read_likelihoods(job, shard, run) for shard in open_files[LIKELIHOODS]]
        _merge(merged, LIKELIHOODS, likelihoods, CandidateLikelihood)


def _with_tries(
    engine: Engine,
    build: Build[RunEvaluation],
    checkpoint: _Checkpoint,
    planned: list[PlannedShard],
    answers: list[pl.DataFrame],
    items: pl.DataFrame,
) -> list[pl.DataFrame]:
    """The Prediction rows of the planned shards, with later answers where no option could be read out of the first."""
    config, stop_ids = build.config.evaluation, checkpoint.prompts.stop_token_ids
    for attempt in range(1, config.tries):
        generate = partial(generate_request, config, stop_ids=stop_ids, attempt=attempt)
        again = plan_again(planned, answers, items, attempt, generate)
        if not again:
            break
        job = _answer_shards(engine, build, checkpoint, list(again.values()))
        for place, shard in again.items():
            later = read_predictions(job, shard, build.config.run, checkpoint.tokenizer)
            answers[place] = with_later_tries(answers[place], later)
        left = sum(shard.shard.prompts for shard in again.values())
        logger.info("try %d: %d answers were drawn again, since no option could be read", attempt + 1, left)
    return answers


def _merge(merged: Shards, name: str, parts: list[pl.DataFrame], contract: type[dy.Schema]) -> None:
    # In the types of the contract, since connections and benchmarks have an order of their own.
    rows = contract.cast(pl.concat(parts)).sort(*contract.primary_key())
    write_parquet(rows, merged.path(name), contract)
    merged.mark_done(name)


def _answer_shards(
    engine: Engine, build: Build[RunEvaluation], checkpoint: _Checkpoint, planned: list[PlannedShard]
) -> InferenceJob:
    """The job whose shards are all answered: before, by a run that was killed, or now."""
    job = InferenceJob(
        checkpoint=checkpoint.location,
        transform_matrix=checkpoint.transform_matrix,
        execution=build.execution,
        folder=(build.folder / _WORK).absolute(),
        shards=tuple(shard.shard for shard in planned),
    )
    waiting = job.of_open_shards()
    names = {shard.name for shard in waiting.shards}
    for shard in planned:
        if shard.shard.name in names:
            write_shard(job, shard)
    if names:
        total, left = (sum(shard.prompts for shard in part.shards) for part in (job, waiting))
        engine.answer(waiting, counting(build.progress, total - left, total, "prompts"), build.run_all)
    return job


def _without_pivot(requests: pl.DataFrame) -> str:
    """How many prompts were to be translated and were not, in words; empty where none was to be."""
    if (column := next((name for name in id_columns(("pivot", "pivot_context")) if name in requests), None)) is None:
        return ""
    foreign = requests.filter(pl.col("language") != ENGLISH)
    lacking = foreign[column].null_count()
    if lacking:
        logger.warning("%d of %d prompts have no translation and are asked without one", lacking, foreign.height)
    return f"{lacking} of {foreign.height} prompts have no translation and are asked with the connection off"


def _score(build: Build[RunEvaluation], items: pl.DataFrame, without_pivot: str) -> None:
    config, folder = build.config.evaluation, build.folder
    parts = [score_predictions(read_parquet(folder / PREDICTIONS, Prediction), items)]
    interval = f"bootstrap over units, {config.bootstrap_samples} resamples; Wilson where few of them differ"
    how = {**measured_with(), "interval": interval}
    if without_pivot:
        how["pivot"] = without_pivot
    if config.likelihoods:
        likelihoods = read_parquet(folder / LIKELIHOODS, CandidateLikelihood)
        parts.append(score_likelihoods(likelihoods, items))
        how["likelihood"] = "of the first gold answer and of each option alone, without the token that ends the turn"
    item_scores = pl.concat([ItemScore.cast(part) for part in parts]).sort(*ItemScore.primary_key())
    scores = aggregate_scores(
        item_scores, samples=config.bootstrap_samples, confidence=config.confidence, seed=config.seed
    )
    write_parquet(item_scores, folder / ITEM_SCORES, ItemScore)
    write_parquet(scores, folder / SCORES, Score)
    write_json(folder / SCORING, how)
