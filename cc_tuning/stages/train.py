"""The stage `train`: a base model and training rows become the checkpoint of one run.

An objective that is held against a reference model gets what that model says of the rows as a further input, and it is
checked that both are of these rows and this base model.

A killed run goes on from its newest complete checkpoint and ends with the same weights; a run that was killed after its
end is not trained again.
"""

import logging
import shutil
from pathlib import Path

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.mirroring import Mirrored
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import Build, Step, find_cached, open_step
from cc_tuning.training.config import TrainConfig
from cc_tuning.training.job import TRAINER, TrainingJob, device_type
from cc_tuning.training.launch import run_job, write_job
from cc_tuning.training.objectives.table import OBJECTIVES, REFERENCE
from cc_tuning.training.reference_values import check_reference
from cc_tuning.training.trainer_checkpoints import newest_complete_checkpoint
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json
from data_contracts.fingerprint import digest_of_files
from data_contracts.layout import CHECKPOINT, PREFERENCE_ROWS, TOKENIZER, TRAINING_ROWS, TRAINING_SUMMARY
from data_contracts.manifest import RowCounts
from data_contracts.parquet_stream import row_count
from data_contracts.store import ArtifactStore

logger = logging.getLogger(__name__)


def build_training(build: Build[TrainConfig]) -> RowCounts:
    """Writes `checkpoint/`, `metrics.jsonl` and `summary.json`; every training row is kept, those
    that are held out for validation too.

    Raises:
        ConfigError: the device is not there, or the reference values are of another model or other rows.
        TrainingFailed: a training process stopped before the last step.
    """
    device_type(build.execution)
    if not is_finished(build.folder):
        job = training_job(build)
        if REFERENCE in job.inputs:
            check_reference(job.inputs[REFERENCE], job.rows, build.inputs["base"])
        run_job(job, build.progress)
    shutil.rmtree(build.folder / TRAINER, ignore_errors=True)
    rows = row_count(_rows_file(build))
    return RowCounts(read=rows, kept=rows)


def training_job(build: Build[TrainConfig]) -> TrainingJob:
    """What the training processes are told; they go on from the newest complete checkpoint."""
    materialized, base = build.inputs["training_rows"].path, build.inputs["base"]
    return TrainingJob(
        config=build.config,
        folder=build.folder.absolute(),
        rows=_rows_file(build),
        tokenizer=materialized / TOKENIZER,
        base=base.name,
        base_revision=base.revision,
        inputs={name: place.path for name, place in build.inputs.items() if name not in ("training_rows", "base")},
        execution=build.execution,
        resume_from=newest_complete_checkpoint((build.folder / TRAINER).absolute()),
    )


def _rows_file(build: Build[TrainConfig]) -> Path:
    is_of_pairs = OBJECTIVES[build.config.objective].is_of_pairs
    return build.inputs["training_rows"].path / (PREFERENCE_ROWS if is_of_pairs else TRAINING_ROWS)


def write_training_job(step: Step, store: ArtifactStore, execution: Execution) -> Path | None:
    """The job file of a training step, for processes that somebody else starts; None when training is finished.

    The step itself, run afterwards, takes over what they leave. Nothing keeps it from training in the same folder in
    the meantime.
    """
    with store.locked(step.ref):
        if find_cached(step, store) or Mirrored(step.ref, step.label, store, execution).fetch():
            return None
        build = open_step(step, store, execution, no_progress)[0]
        return None if is_finished(build.folder) else write_job(training_job(build))


def is_finished(folder: Path) -> bool:
    """Whether training in `folder` reached its end and the checkpoint is as it was written."""
    if not (folder / TRAINING_SUMMARY).is_file():
        return False
    try:
        recorded = read_json(folder / TRAINING_SUMMARY)["checkpoint_sha256"]
    except (ArtifactMismatch, KeyError, TypeError):
        return False
    checkpoint = folder / CHECKPOINT
    if checkpoint.is_dir() and digest_of_files(checkpoint) == recorded:
        return True
    logger.warning("the finished checkpoint in %s is missing or damaged: training goes on from what is left", folder)
    return False
