"""One training run in this process: rows and a job become `checkpoint/`, then `summary.json`, the sign of its end.

A `transformers.Trainer` around a causal language model, with a connection (CC-Tuning) or without (ML-SFT); what is ours
is its batches, its objective and two callbacks. Nothing here reads a table of rows: they are given, so that a run needs
torch, transformers, accelerate, safetensors, numpy and pydantic alone.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from cc_tuning.model.connection import CrossLingualModel
from cc_tuning.runtime.subprocesses import tell_progress
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.training.arguments import training_arguments
from cc_tuning.training.callbacks import CheckpointManifests, TrainingMetrics, ValidationLines
from cc_tuning.training.collators import Collator, ConnectionCollator, PredictedRows, RowNoise
from cc_tuning.training.connection import ConnectionTraining
from cc_tuning.training.dataset import Rows
from cc_tuning.training.distributed import check_running, check_same_engine, keep_arithmetic
from cc_tuning.training.export import save_checkpoint, whole_model
from cc_tuning.training.flops import flops_of_model, tokens_of_a_pass
from cc_tuning.training.job import TrainingJob, batch_shape, device_type
from cc_tuning.training.metrics import read_metrics
from cc_tuning.training.models import JobModel, build_model, compile_blocks, trained_share
from cc_tuning.training.objectives.base import Objective
from cc_tuning.training.objectives.table import OBJECTIVES, load_objective
from cc_tuning.training.running_map import RefittedMap, RunningSums
from cc_tuning.training.statistics import MeasuredStatistics, measured_statistics, sampled_indices
from cc_tuning.training.trainer import LengthGroupedTrainer
from cc_tuning.training.trainer_checkpoints import step_of
from cc_tuning.training.validation import Split, Validation, split_rows
from data_contracts.files import write_json
from data_contracts.fingerprint import digest_of_files
from data_contracts.layout import CHECKPOINT, METRICS, TRAINING_SUMMARY

logger = logging.getLogger(__name__)


def train_on(rows: Rows, job: TrainingJob) -> None:
    """Train to the last step and leave `checkpoint/`, `metrics.jsonl` and `summary.json` in the job's folder.

    The checkpoint is that of the last step, or with held-out rows the one with the lowest validation loss.

    Raises:
        ConfigError: the fraction holds no row out, or all; the engine, the adapter or the attention cannot be had here;
            or the checkpoint to go on from was written by another engine.
        TrainingFailed: the loss is not finite, or memory ran out.
        UnsupportedModel: the base model's vocabulary is smaller than the tokenizer's, or its family is unknown and the
            job asks for its parts.
        ArtifactMismatch: a file of the base model is missing or damaged.
    """
    if job.resume_from:
        check_same_engine(job.resume_from, job)
    torch.set_num_threads(job.execution.threads)
    split = split_rows(rows, job.config.training.validation_fraction, job.config.training.seed)
    tokenizer = load_tokenizer(job.tokenizer)
    arguments = training_arguments(job)
    set_seed(job.config.training.seed)
    model = build_model(job, tokenizer)
    uses_cache = model.base.config.use_cache
    if job.execution.compile:
        compile_blocks(model.base)
    trainer = build_trainer(job, model, arguments, split, tokenizer)
    torch.manual_seed(stream_seed(job, arguments.process_index))
    trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
    kept_step = trainer.restore_best()
    whole = whole_model(job, trainer, model, tokenizer)
    if whole is not None:
        whole.base.config.use_cache = uses_cache  # the Trainer turns it off, also for whoever loads the checkpoint
        save_checkpoint(job, whole, tokenizer)
        write_json(
            job.folder / TRAINING_SUMMARY, summary(job, whole.trained, trainer.state.global_step, split, kept_step)
        )
        logger.info(
            "training finished: %d steps on %d rows, step %d is kept",
            trainer.state.global_step,
            len(split.training),
            kept_step,
        )


def build_trainer(
    job: TrainingJob,
    model: JobModel,
    arguments: TrainingArguments,
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
) -> LengthGroupedTrainer:
    """The Trainer of a job, with our callbacks and no others that speak."""
    training = job.config.training
    objective = load_objective(job.config.objective, job.config.preference, training.distil_weight)
    connected = model.connected
    noise, rate = training_noise(job, model.base.config.num_hidden_layers), training.decision_maker_learning_rate
    flops = flops_of_model(model.base.config, trained_share(model.trained), OBJECTIVES[job.config.objective].passes)
    callbacks: list[TrainerCallback] = [TrainingMetrics(job.folder / METRICS, tell_progress)]
    validation = None
    if split.held_out is not None:
        collate = build_collator(job, objective, tokenizer, None)
        validation = Validation(split.held_out, collate, training.validations)
        callbacks.append(ValidationLines(validation))
    sums = running_sums(connected, arguments.device)
    named: dict[str, Any] = {
        "model": model.trained,
        "objective": objective,
        "rows": split.training,
        "collate": build_collator(job, objective, tokenizer, noise, predicted_rows(job)),
        "batch_shape": batch_shape(job, tokens_of_a_pass(flops, arguments.device)),
        "flops": flops,
        "connection": None if connected is None else ConnectionTraining(connected, rate, sums),
        "validation": validation,
        "logit_bytes": job.execution.device_logit_bytes,
        "args": arguments,
        "callbacks": callbacks,
    }
    if model.adapter is None:
        trainer = LengthGroupedTrainer(**named)
    else:
        from cc_tuning.training.lora import AdapterTrainer  # the `lora` extra

        trainer = AdapterTrainer(adapter=model.adapter, connected=connected, **named)
    trainer.remove_callback(PrinterCallback)
    if connected is not None and connected.connection.normalise != "none":
        trainer.add_callback(measured_statistics_of(job, connected, trainer, split.training, objective, tokenizer))
    if connected is not None and connected.prediction is not None and sums is not None:
        interval, over_ranks = connected.connection.predicted_refit, sum_over_ranks(trainer)
        trainer.add_callback(RefittedMap(connected.prediction, sums, interval, over_ranks, job.resume_from))
    trainer.add_callback(CheckpointManifests())  # last: it completes a checkpoint
    check_running(trainer, job)
    keep_arithmetic(trainer, None if connected is None else connected.decision_maker)
    return trainer


def measured_statistics_of(
    job: TrainingJob,
    connected: CrossLingualModel,
    trainer: LengthGroupedTrainer,
    rows: Rows,
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
) -> MeasuredStatistics:
    """What measures the activations of a sample of `rows`, which the trainer will train."""
    indices = sampled_indices(rows.row_ids, connected.connection.statistics_rows, job.config.training.seed)
    sample, collate = rows.subset(indices), build_collator(job, objective, tokenizer, None)

    passes = partial(trainer.evaluated, sample, collate)
    measure = partial(measured_statistics, connected.normalisation, passes, sum_over_ranks(trainer))
    return MeasuredStatistics(connected.normalisation, measure, job.resume_from)


def sum_over_ranks(trainer: LengthGroupedTrainer) -> Callable[[Tensor], Tensor]:
    """The function that gives the sum of a tensor over all ranks; every rank must call it."""

    def over_ranks(tensor: Tensor) -> Tensor:
        total: Tensor = trainer.accelerator.reduce(tensor, "sum")
        return total

    return over_ranks


def running_sums(connected: CrossLingualModel | None, device: torch.device) -> RunningSums | None:
    """What the map of `connection.predicted_share` is fitted on; None where there is none."""
    if connected is None or connected.prediction is None:
        return None
    return RunningSums(connected.read_activations, connected.config.hidden_size, device)


def build_collator(
    job: TrainingJob,
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    noise: RowNoise | None,
    predicted: PredictedRows | None = None,
) -> Collator:
    """How rows become the objective's batches, with what a connection reads if there is one."""
    pad_token_id = tokenizer.pad_token_id
    assert isinstance(pad_token_id, int)
    collate = objective.collator(pad_token_id, job.inputs)
    connection = job.config.connection
    if connection is None:
        return collate
    return ConnectionCollator(collate, objective.contract.sequences, pad_token_id, connection.offset, noise, predicted)


def training_noise(job: TrainingJob, layers: int) -> RowNoise | None:
    """The noise that rows are trained with, in the choice among `layers` layers; None where nothing is chosen."""
    connection = job.config.connection
    chooses = connection is not None and connection.chooses_layer
    return RowNoise(job.config.training.seed, layers) if chooses else None


def predicted_rows(job: TrainingJob) -> PredictedRows | None:
    """The rows that get predicted English activations; None where none do."""
    share = job.config.connection.predicted_share if job.config.connection else 0.0
    return PredictedRows(job.config.training.seed, share) if share else None


def stream_seed(job: TrainingJob, rank: int) -> int:
    """The seed of what a rank draws beside the noise of its rows: dropout of adapters.

    Ranks see different rows and must not draw the same. A resumed rank loads the state it saved; one that has none,
    since there were fewer ranks or more, starts a stream of its own for that step.
    """
    step = step_of(job.resume_from) if job.resume_from else 0
    return job.config.training.seed + rank + 1_000_003 * step


def summary(job: TrainingJob, model: nn.Module, steps: int, split: Split, kept_step: int) -> dict[str, Any]:
    """How the run went; `checkpoint_sha256` is the digest of the finished checkpoint folder, of step `kept_step`."""
    lines = read_metrics(job.folder / METRICS)
    counts = [line["selection_counts"] for line in lines if "selection_counts" in line]
    return {
        "objective": job.config.objective,
        "connected": job.config.connection is not None,
        "rows": len(split.training),
        "held_out_rows": 0 if split.held_out is None else len(split.held_out),
        "steps": steps,
        "kept_step": kept_step,
        "epochs": job.config.training.epochs,
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "first_loss": lines[0]["loss"] if lines else None,
        "last_loss": lines[-1]["loss"] if lines else None,
        "selection_counts": [round(sum(layer), 2) for layer in zip(*counts, strict=True)],
        "training_seconds": lines[-1]["seconds"] if lines else 0.0,
        "resumed_after_step": step_of(job.resume_from) if job.resume_from else 0,
        "device": device_type(job.execution),
        "processes": job.execution.processes,
        "device_batch_size": job.execution.device_batch_size,
        "checkpoint_sha256": digest_of_files(job.folder / CHECKPOINT),
    }
