"""Trainer checkpoints that are known to be whole.

The Trainer writes a checkpoint file by file. It resumes without a word from one that lost its optimizer state (to other
weights), and fails on one whose weights are cut. So each checkpoint gets a manifest, written last, with the sha256 of
every file, and training resumes from the newest checkpoint that matches its manifest; otherwise from the first step,
which gives the same weights later. Where rows are held out, the best checkpoint so far has to be whole too: a run ends
with the best of all.
"""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, sha256_of_file, write_json

logger = logging.getLogger(__name__)

MANIFEST = "checkpoint_manifest.json"
KEPT_CHECKPOINTS = 2
_STATE = "trainer_state.json"
_DAMAGED = "damaged-"
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
        files: dict[str, dict[str, Any]] = dict(read_json(checkpoint / MANIFEST)["files"])
    except (ArtifactMismatch, KeyError, TypeError, ValueError):
        return "its manifest cannot be read"
    if not any("optim" in name for name in files):
        # Of whatever engine: optimizer.pt, optimizer_0/, global_step12/…optim_states.pt.
        return "it has no optimizer state"
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


def checkpoint_of_step(trainer_folder: Path, step: int) -> Path:
    """Where the Trainer saves after `step`."""
    return trainer_folder / f"checkpoint-{step}"


def best_checkpoint(checkpoint: Path) -> Path | None:
    """The one with the lowest validation loss up to `checkpoint`; None without held-out rows, or when unreadable."""
    try:
        best = read_json(checkpoint / _STATE)["best_global_step"]
    except (ArtifactMismatch, KeyError, TypeError):
        return None
    return None if best is None else checkpoint_of_step(checkpoint.parent, int(best))


def find_damage_for_resuming(checkpoint: Path) -> str | None:
    """Why training cannot go on from `checkpoint`, itself or the best one so far, which may be what it ends with."""
    damage = find_damage(checkpoint)
    best = None if damage else best_checkpoint(checkpoint)
    if best is None or best == checkpoint:
        return damage
    damage_of_best = find_damage(best)
    return damage_of_best and f"the best one before it, of step {step_of(best)}, is lost: {damage_of_best}"


def newest_complete_checkpoint(trainer_folder: Path) -> Path | None:
    """The checkpoint to resume from, or None to start anew; the log says which were skipped and why.

    Newer ones that are skipped are removed, because the Trainer will write a checkpoint of the same name again, beside
    what is left in it. When none is complete, those whose save was finished are set aside as `damaged-N` instead: what
    is whole in them is the last of that training. The next complete checkpoint replaces them.
    """
    skipped: list[Path] = []
    found = None
    for checkpoint in checkpoints_of(trainer_folder):
        damage = find_damage_for_resuming(checkpoint)
        if damage is None:
            logger.info("training resumes after step %d", step_of(checkpoint))
            found = checkpoint
            break
        logger.warning("checkpoint of step %d is skipped: %s", step_of(checkpoint), damage)
        skipped.append(checkpoint)
    if skipped and found is None:
        logger.warning("no checkpoint is complete: training starts at its first step")
    for checkpoint in skipped:
        if found is None and (checkpoint / MANIFEST).is_file():
            aside = checkpoint.with_name(f"{_DAMAGED}{step_of(checkpoint)}")
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.rename(aside)
            logger.warning("what is left of it is kept as %s until the next complete checkpoint", aside)
        else:
            shutil.rmtree(checkpoint)
    return found


def remove_old_checkpoints(trainer_folder: Path, newest: Path) -> None:
    """Remove all but the newest `KEPT_CHECKPOINTS` once `newest` is complete, and what was set aside as damaged.

    The last complete checkpoint is never removed: `newest` is one, and the others go from the oldest on. The best one
    that a kept checkpoint knows of stays with it: should `newest` be lost, the one before needs its own.
    """
    others = [path for path in checkpoints_of(trainer_folder) if path != newest]
    kept = {newest, *others[: KEPT_CHECKPOINTS - 1]}
    kept |= {best for checkpoint in kept if (best := best_checkpoint(checkpoint))}
    for old in others:
        if old not in kept:
            shutil.rmtree(old)
    for aside in sorted(trainer_folder.glob(f"{_DAMAGED}*")):
        shutil.rmtree(aside)
