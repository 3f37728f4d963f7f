"""One training process (a torchrun rank): `python -m cc_tuning.training.worker JOB.json`.

A `transformers.Trainer` around a causal language model (ML-SFT) or a `CrossLingualModel` (CC-Tuning); what is ours is
its batches, the collator and two callbacks. Rank zero writes `checkpoint/`, then `summary.json`, the sign that the run
is finished.
"""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainingArguments, set_seed

from cc_tuning.errors import CcTuningError
from cc_tuning.runtime.subprocesses import die_with_parent, tell_progress
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.training.arguments import training_arguments
from cc_tuning.training.collators import ConnectionCollator, ResponseCollator
from cc_tuning.training.compilation import compile_blocks
from cc_tuning.training.dataset import TrainingRows
from cc_tuning.training.distributed import as_launched, check_running, check_same_engine, keep_arithmetic
from cc_tuning.training.export import save_checkpoint, whole_model
from cc_tuning.training.job import TrainingJob, batch_shape, device_type
from cc_tuning.training.metrics import TrainingMetrics, read_metrics
from cc_tuning.training.models import JobModel, build_model
from cc_tuning.training.noise import RowNoise
from cc_tuning.training.trainer import LengthGroupedTrainer
from cc_tuning.training.trainer_checkpoints import CheckpointManifests, step_of
from data_contracts.errors import DataContractError
from data_contracts.files import write_json
from data_contracts.fingerprint import digest_of_files
from data_contracts.layout import CHECKPOINT, METRICS, TRAINING_SUMMARY

logger = logging.getLogger(__name__)


def train(job: TrainingJob) -> None:
    """Train to the last step and leave `checkpoint/`, `metrics.jsonl` and `summary.json` in the job's folder.

    Raises:
        ConfigError: the engine, the adapter or the attention cannot be had here, or the checkpoint to go on from was
            written by another engine.
        TrainingFailed: there are no rows, or the loss is not finite.
        UnsupportedModel: the base model's vocabulary is smaller than the tokenizer's.
        ArtifactMismatch: a file of the base model is missing or damaged.
    """
    if job.resume_from:
        check_same_engine(job.resume_from, job)
    torch.set_num_threads(job.execution.threads)
    rows = TrainingRows(job.rows)
    tokenizer = load_tokenizer(job.tokenizer)
    arguments = training_arguments(job)
    set_seed(job.config.training.seed)
    model = build_model(job, tokenizer)
    uses_cache = model.base.config.use_cache
    if job.execution.compile:
        compile_blocks(model.base)
    trainer = build_trainer(job, model, arguments, rows, collator(job, tokenizer, model.base.config.num_hidden_layers))
    torch.manual_seed(stream_seed(job, arguments.process_index))
    trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
    whole = whole_model(job, trainer, model, tokenizer)
    if whole is not None:
        whole.base.config.use_cache = uses_cache  # the Trainer turns it off, also for whoever loads the checkpoint
        save_checkpoint(job, whole, tokenizer)
        write_json(job.folder / TRAINING_SUMMARY, summary(job, whole.trained, trainer.state.global_step, len(rows)))
        logger.info("training finished: %d steps on %d rows", trainer.state.global_step, len(rows))


def build_trainer(
    job: TrainingJob,
    model: JobModel,
    arguments: TrainingArguments,
    rows: TrainingRows,
    collate: ResponseCollator,
) -> LengthGroupedTrainer:
    """The Trainer of a job, with our callbacks and no others that speak."""
    named: dict[str, Any] = {
        "model": model.trained,
        "rows": rows,
        "collate": collate,
        "batch_shape": batch_shape(job),
        "decision_maker_learning_rate": job.config.training.decision_maker_learning_rate,
        "args": arguments,
        "callbacks": [TrainingMetrics(job.folder / METRICS, tell_progress), CheckpointManifests()],
    }
    if model.adapter is None:
        trainer = LengthGroupedTrainer(**named)
    else:
        from cc_tuning.training.adapter_trainer import AdapterTrainer  # the `lora` extra

        trainer = AdapterTrainer(adapter=model.adapter, **named)
    trainer.remove_callback(PrinterCallback)
    check_running(trainer, job)
    keep_arithmetic(trainer, model.connection and model.connection.decision_maker)
    return trainer


def stream_seed(job: TrainingJob, rank: int) -> int:
    """The seed of what a rank draws beside the noise of its rows: dropout of adapters.

    Ranks see different rows and must not draw the same. A resumed rank loads the state it saved; one that has none,
    since there were fewer ranks or more, starts a stream of its own for that step.
    """
    step = step_of(job.resume_from) if job.resume_from else 0
    return job.config.training.seed + rank + 1_000_003 * step


def collator(job: TrainingJob, tokenizer: PreTrainedTokenizerBase, layers: int) -> ResponseCollator:
    """How rows become batches for the job's method and a model of `layers` layers."""
    pad_token_id = tokenizer.pad_token_id
    assert isinstance(pad_token_id, int)
    connection = job.config.connection
    if connection is None:
        return ResponseCollator(pad_token_id)
    noise = None if connection.selector == "mean" else RowNoise(job.config.training.seed, layers)
    return ConnectionCollator(pad_token_id, connection.offset, noise)


def summary(job: TrainingJob, model: nn.Module, steps: int, rows: int) -> dict[str, Any]:
    """How the run went; `checkpoint_sha256` is the digest of the finished checkpoint folder."""
    lines = read_metrics(job.folder / METRICS)
    counts = [line["selection_counts"] for line in lines if "selection_counts" in line]
    return {
        "method": job.config.method,
        "rows": rows,
        "steps": steps,
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


def main(job_file: Path) -> int:
    """Run the job of a file; the exit code is 1 after an error a user can act on, which is the last line on stderr."""
    die_with_parent(os.getppid(), signal.SIGKILL)
    is_rank_zero = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(
        stream=sys.stdout if is_rank_zero else sys.stderr, level=logging.WARNING, format="%(message)s", force=True
    )
    logging.getLogger("cc_tuning").setLevel(logging.INFO)
    try:
        train(as_launched(TrainingJob.model_validate_json(job_file.read_text(encoding="utf-8"))))
    except (CcTuningError, DataContractError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
