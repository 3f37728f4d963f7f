"""Trainer checkpoints that are known to be whole.

The Trainer writes a checkpoint file by file. It resumes without a word from one that lost its optimizer state (to other
weights), and fails on one whose weights are cut. So each checkpoint gets a manifest, written last, with the sha256 of
every file, and training resumes from the newest checkpoint that matches its manifest; otherwise from the first step,
which gives the same weights later.
"""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, sha256_of_file, write_json

logger = logging.getLogger(__name__)

MANIFEST = "checkpoint_manifest.json"
KEPT_CHECKPOINTS = 2
_CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")


def write_checkpoint_manifest(checkpoint: Path) -> None:
    """Record every file of `checkpoint` with size and sha256; afterwards the checkpoint counts as complete."""
    files = {
        str(path.relative_to(checkpoint)): {"size": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_json(checkpoint / MANIFEST, {"files": files})


def find_damage(checkpoint: Path) -> str | None:
    """Why `checkpoint` cannot be resumed from, or None when it is complete and every file is as it was written."""
    if not (checkpoint / MANIFEST).is_file():
        return "it has no manifest, so its save was not finished"
    try:
        files: dict[str, dict[str, Any]] = read_json(checkpoint / MANIFEST)["files"]
    except (ArtifactMismatch, KeyError, TypeError):
        return "its manifest cannot be read"
    for name, record in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"its {name} is missing"
        if path.stat().st_size != record["size"]:
            return f"its {name} has {path.stat().st_size:,} bytes, expected {record['size']:,}"
        if sha256_of_file(path) != record["sha256"]:
            return f"its {name} was changed after it was written"
    return None


def checkpoints_of(trainer_folder: Path) -> list[Path]:
    """The checkpoint folders of a Trainer, newest first, whole or not."""
    if not trainer_folder.is_dir():
        return []
    found = [path for path in trainer_folder.iterdir() if _CHECKPOINT_NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which `checkpoint` was saved."""
    match = _CHECKPOINT_NAME.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


def newest_complete_checkpoint(trainer_folder: Path) -> Path | None:
    """The checkpoint to resume from, or None to start anew; unusable ones are removed, and the log says why.

    They are removed because the Trainer will write a checkpoint of the same name again, beside what is left in it.
    """
    for checkpoint in checkpoints_of(trainer_folder):
        damage = find_damage(checkpoint)
        if damage is None:
            logger.info("training resumes after step %d", step_of(checkpoint))
            return checkpoint
        logger.warning("checkpoint of step %d is skipped: %s", step_of(checkpoint), damage)
        shutil.rmtree(checkpoint)
    return None


class CheckpointManifests(TrainerCallback):
    """Completes each checkpoint with its manifest, then removes all but the newest two."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        # A loss is looked at before it is saved: TrainingMetrics stops at a NaN, and no checkpoint has one.
        control.should_log = control.should_log or control.should_save
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # every rank has written its random state
        if not state.is_world_process_zero:
            return
        assert args.output_dir is not None
        folder = Path(args.output_dir)
        write_checkpoint_manifest(folder / f"checkpoint-{state.global_step}")
        for old in checkpoints_of(folder)[KEPT_CHECKPOINTS:]:
            shutil.rmtree(old)
