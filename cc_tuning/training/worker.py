"""One training process (a torchrun rank): `python -m cc_tuning.training.worker JOB.json`.

A `transformers.Trainer` around a causal language model (ML-SFT) or a `CrossLingualModel` (CC-Tuning); what is ours is
its batches, the collator and two callbacks. Rank zero writes `checkpoint/`, then `summary.json`, the sign that the run
is finished.
"""

import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    set_seed,
)

from cc_tuning.errors import CcTuningError, UnsupportedModel
from cc_tuning.model import CrossLingualModel
from cc_tuning.model.checkpoint import downloaded_model, read_base_model, write_base_model
from cc_tuning.prompts import load_tokenizer, stop_token_ids
from cc_tuning.subprocesses import die_with_parent, tell_progress
from cc_tuning.training.arguments import training_arguments
from cc_tuning.training.checkpoints import CheckpointManifests, step_of
from cc_tuning.training.collate import ConnectionCollator, ResponseCollator
from cc_tuning.training.dataset import TrainingRows
from cc_tuning.training.job import CHECKPOINT, METRICS, SUMMARY, TrainingJob, batch_shape, device_type
from cc_tuning.training.metrics import TrainingMetrics, read_metrics
from cc_tuning.training.noise import RowNoise
from cc_tuning.training.trainer import LengthGroupedTrainer
from data_contracts.errors import DataContractError
from data_contracts.files import sha256_of_file, write_json
from data_contracts.fingerprint import digest_of_files

logger = logging.getLogger(__name__)


def train(job: TrainingJob) -> None:
    """Train to the last step and leave `checkpoint/`, `metrics.jsonl` and `summary.json` in the job's folder.

    Raises:
        TrainingFailed: there are no rows, or the loss is not finite.
        UnsupportedModel: the base model's vocabulary is smaller than the tokenizer's.
        ArtifactMismatch: a file of the base model is missing or damaged.
    """
    torch.set_num_threads(job.execution.threads)
    rows = TrainingRows(job.rows)
    tokenizer = load_tokenizer(job.tokenizer)
    arguments = training_arguments(job)
    set_seed(job.config.training.seed)
    base = load_base(job, tokenizer)
    uses_cache = base.config.use_cache
    model = base if job.config.connection is None else CrossLingualModel.from_base(base, job.config.connection)
    trainer = LengthGroupedTrainer(
        model=model,
        rows=rows,
        collate=collator(job, tokenizer, base.config.num_hidden_layers),
        batch_shape=batch_shape(job),
        decision_maker_learning_rate=job.config.training.decision_maker_learning_rate,
        args=arguments,
        callbacks=[TrainingMetrics(job.folder / METRICS, tell_progress), CheckpointManifests()],
    )
    trainer.remove_callback(PrinterCallback)
    # Ranks see different rows and must not draw the same random layers for them. A resumed rank loads its own state.
    torch.manual_seed(job.config.training.seed + arguments.process_index)
    trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
    if trainer.is_world_process_zero():
        base.config.use_cache = uses_cache  # the Trainer turns it off, also for whoever loads the checkpoint
        save_checkpoint(job, model, base, tokenizer)
        write_json(job.folder / SUMMARY, summary(job, model, trainer.state.global_step, len(rows)))
        logger.info("training finished: %d steps on %d rows", trainer.state.global_step, len(rows))


def load_base(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The base model with float32 weights; `training.dtype` bfloat16 is autocast over them.

    Raises:
        UnsupportedModel: it cannot be downloaded, or token ids would fall outside its embedding.
        ArtifactMismatch: its files are missing or damaged.
    """
    base = read_base_model(downloaded_model(job.base, job.base_revision), torch.float32)
    embedded = sum(len(weight) for weight in base.get_input_embeddings().parameters())
    if len(tokenizer) > embedded:
        raise UnsupportedModel(
            f"the tokenizer has {len(tokenizer)} tokens, the base model {job.base} embeds {embedded}; use the "
            "tokenizer of this model"
        )
    return base


def collator(job: TrainingJob, tokenizer: PreTrainedTokenizerBase, layers: int) -> ResponseCollator:
    """How rows become batches for the job's method and a model of `layers` layers."""
    pad_token_id = tokenizer.pad_token_id
    assert isinstance(pad_token_id, int)
    connection = job.config.connection
    if connection is None:
        return ResponseCollator(pad_token_id)
    noise = RowNoise(job.config.training.seed, layers) if connection.selector == "decision_maker" else None
    return ConnectionCollator(pad_token_id, connection.offset, noise)


def save_checkpoint(
    job: TrainingJob, model: nn.Module, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write `checkpoint/`, whole or not at all: a Hugging Face directory that any tool loads, and that stops."""
    partial, final = job.folder / f"{CHECKPOINT}.partial", job.folder / CHECKPOINT
    for folder in (partial, final):
        shutil.rmtree(folder, ignore_errors=True)
    partial.mkdir()
    base.to(getattr(torch, job.config.training.dtype))
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    stop_ids = stop_token_ids(tokenizer)
    if isinstance(model, CrossLingualModel):
        model.save_pretrained(partial, stop_ids, {"training_rows": sha256_of_file(job.rows)})
    else:
        write_base_model(partial, base, stop_ids)
    shutil.copytree(job.tokenizer, partial, dirs_exist_ok=True)
    partial.rename(final)


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
        train(TrainingJob.model_validate_json(job_file.read_text(encoding="utf-8")))
    except (CcTuningError, DataContractError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
