"""Stage `evaluate`: answer the benchmark items with one run's checkpoint, and score the answers.

A CC-tuned checkpoint answers three ways: with its Transform Matrix, with the connection off, and with the real English
prompt where the item has one (the upper reference); only the three together tell what the matrix is worth.

The work is cut into shards (connection, benchmark, language), each with a marker; the merged predictions get a marker
too, after which the shards are removed. So whatever a kill or a damaged file leaves, no finished shard is answered
twice, and scoring again needs no model.

Files: `predictions.parquet` (Prediction) and its marker, `item_scores.parquet` (ItemScore), `scores.parquet` (Score),
`quarantine.parquet`, `scoring.json` (what decides the figures beside the config: tokenizers, versions).
"""

import logging
import shutil
from importlib.metadata import version
from pathlib import Path

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.config import RunEvaluation
from cc_tuning.evaluation.items import load_items, select_items
from cc_tuning.evaluation.scoring import aggregate_scores, check_complete, score_predictions
from cc_tuning.inference.jobs import Engine, EvaluationJob, EvaluationRequest, TransformersEngine
from cc_tuning.inference.requests import Requests, plan_shards, render_requests
from cc_tuning.model import ConnectionMode
from cc_tuning.runtime.pretrained import load_config
from cc_tuning.runtime.step import Build
from cc_tuning.text.icu import ICU_VERSION
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from data_contracts.files import write_json
from data_contracts.layout import ITEM_SCORES, PREDICTIONS, SCORES, SCORING
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import check_quarantine_limit, write_quarantine
from data_contracts.schemas import ItemScore, Prediction, Score
from data_contracts.shards import Shards

logger = logging.getLogger(__name__)

_WORK = "work"


def build_evaluation(build: Build[RunEvaluation]) -> RowCounts:
    """Answer and score with the `transformers` engine.

    Raises:
        ConfigError: there is nothing to evaluate.
        ContractViolation: more item rows are broken than the limit allows.
        EvaluationFailed: the engine stopped; what it finished is kept for the next try.
    """
    return evaluate_with(TransformersEngine(), build)


def evaluate_with(engine: Engine, build: Build[RunEvaluation]) -> RowCounts:
    """Answer and score with `engine`; raises as `build_evaluation`."""
    config = build.config.evaluation
    loaded = load_items(build.inputs["items"].path)
    broken = dict(loaded.quarantined.group_by("rule").len().iter_rows())
    check_quarantine_limit("evaluate", loaded.read, broken, build.execution.quarantine_limit)
    items = select_items(loaded.items, config.benchmarks, config.languages, config.items_per_language)
    requests = _render(build, items)
    predictions = _answered(engine, build, requests.rows)
    _score(build, predictions, items)
    counts = write_quarantine(build.folder, [loaded.quarantined, requests.quarantined])
    shutil.rmtree(build.folder / _WORK, ignore_errors=True)
    not_selected = loaded.items.height - items.height
    return RowCounts(read=loaded.read, kept=requests.rows.height, quarantined=counts, not_selected=not_selected)


def _connections(build: Build[RunEvaluation]) -> tuple[ConnectionMode, ...]:
    return ("off", "transform", "parallel") if "transform" in build.inputs else ("off",)


def _render(build: Build[RunEvaluation], items: pl.DataFrame) -> Requests:
    checkpoint = build.inputs["checkpoint"].path
    requests = render_requests(
        items,
        ChatPrompts(load_tokenizer(checkpoint)),
        with_english="parallel" in _connections(build),
        context_tokens=load_config(build.inputs["checkpoint"]).max_position_embeddings,
        max_new_tokens=build.config.evaluation.max_new_tokens,
    )
    if requests.quarantined.height:
        logger.warning("%d of %d items do not fit the model's context", requests.quarantined.height, items.height)
    if not requests.rows.height:
        raise ConfigError(
            f"no item to evaluate: each of the {items.height} prompts is longer than the context of {checkpoint}; use "
            "shorter items or a model with a longer context"
        )
    return requests


def _answered(engine: Engine, build: Build[RunEvaluation], requests: pl.DataFrame) -> pl.DataFrame:
    """The run's predictions: merged earlier and still sound, or answered now by the engine, shard by shard."""
    merged, work = Shards(build.folder), build.folder / _WORK
    path = merged.path(PREDICTIONS)
    if merged.is_done(PREDICTIONS):
        logger.info("the predictions are there, only the scores are made again")
        return read_parquet(path, Prediction)
    job = _plan_job(build, requests, work)
    if job.open_shards:
        engine.answer(job, build.progress)
    predictions = pl.concat([_shard_predictions(job, requests, number) for number in range(len(job.shards))])
    write_parquet(predictions.sort(*Prediction.primary_key()), path, Prediction)
    merged.mark_done(PREDICTIONS)
    return read_parquet(path, Prediction)


def _plan_job(build: Build[RunEvaluation], requests: pl.DataFrame, work: Path) -> EvaluationJob:
    transform = build.inputs.get("transform")
    job = EvaluationJob(
        run=build.config.run,
        checkpoint=build.inputs["checkpoint"].path,
        transform_matrix=transform.path if transform else None,
        folder=work,
        shards=plan_shards(requests, _connections(build)),
        max_new_tokens=build.config.evaluation.max_new_tokens,
        batch_size=build.execution.evaluation_batch_size,
        device=build.execution.device,
        threads=build.execution.threads,
        attention=build.execution.attention,
    )
    for (benchmark, language), rows in requests.group_by("benchmark", "language", maintain_order=True):
        shard = next(shard for shard in job.shards if (shard.benchmark, shard.language) == (benchmark, language))
        write_parquet(rows, work / shard.requests_name, EvaluationRequest)
    return job


def _shard_predictions(job: EvaluationJob, requests: pl.DataFrame, number: int) -> pl.DataFrame:
    """What the engine wrote for one shard, checked against what it was asked."""
    shard = job.shards[number]
    path = job.finished.path(shard.predictions_name)
    predictions = read_parquet(path, Prediction)
    asked = requests.filter(pl.col("benchmark") == shard.benchmark, pl.col("language") == shard.language)
    check_complete(predictions, shard.requests_of(asked), str(path))
    return predictions


def _score(build: Build[RunEvaluation], predictions: pl.DataFrame, items: pl.DataFrame) -> None:
    config = build.config.evaluation
    item_scores = score_predictions(predictions, items)
    scores = aggregate_scores(
        item_scores, samples=config.bootstrap_samples, confidence=config.confidence, seed=config.seed
    )
    write_parquet(item_scores, build.folder / ITEM_SCORES, ItemScore)
    write_parquet(scores, build.folder / SCORES, Score)
    write_json(
        build.folder / SCORING,
        {
            "rougeL": f"rouge_score {version('rouge_score')}, NFKC, lower case, ICU {ICU_VERSION} word break",
            "rougeL_ascii": f"rouge_score {version('rouge_score')}, its own tokenizer (ASCII letters and digits)",
            "interval": f"percentile bootstrap, {config.bootstrap_samples} resamples, items clustered over languages",
        },
    )
