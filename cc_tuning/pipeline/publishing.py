"""Results where people look for them: `OUTPUT/<recipe>/report/` and `OUTPUT/<recipe>/checkpoints/<run>/`.

The store keeps artifacts by fingerprint; this copies the finished ones to names. A published checkpoint holds the base
weights, the Decision Maker and the fitted Transform Matrix together, so it can be served as it is. Large weights are
hard-linked to the store where the file system allows it. Files that somebody put beside them stay.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from cc_tuning.model.checkpoint import CONNECTION_FILE, read_tensors
from cc_tuning.model.transform_file import read_transform_matrix
from cc_tuning.pipeline.plan import Plan, RunPlan
from cc_tuning.runtime.execution import Execution
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json, written_atomically
from data_contracts.layout import CHECKPOINT, TRANSFORM_MATRIX
from data_contracts.manifest_file import MANIFEST
from data_contracts.store import ArtifactRef, ArtifactStore

logger = logging.getLogger(__name__)

_RECORD = "published.json"
_LINK_FROM_BYTES = 16 << 20  # smaller files are copied, so that editing one cannot touch the store


def publish(plan: Plan, execution: Execution) -> Path:
    """Put the recipe's report and checkpoints under `execution.output`; returns the path of `index.html`.

    Folders that already hold the current artifacts are left alone.
    """
    store = ArtifactStore(execution.store)
    folder = execution.output / plan.recipe.name
    with store.locked(plan.report.ref):  # two runs of one recipe may end at the same time
        _publish_folder(store, [plan.report.ref], store.path(plan.report.ref), folder / "report")
        for run in plan.runs:
            _publish_checkpoint(store, run, folder / "checkpoints" / run.name)
    return folder / "report" / "index.html"


def _publish_checkpoint(store: ArtifactStore, run: RunPlan, target: Path) -> None:
    if run.train is None:
        return  # nothing was trained: the model is where it was
    checkpoint = store.path(run.train.ref) / CHECKPOINT
    if run.transform is None:
        _publish_folder(store, [run.train.ref], checkpoint, target)
        return
    matrix = store.path(run.transform.ref) / TRANSFORM_MATRIX
    _publish_folder(store, [run.train.ref, run.transform.ref], checkpoint, target, matrix)


def _publish_folder(
    store: ArtifactStore, refs: list[ArtifactRef], source: Path, target: Path, matrix: Path | None = None
) -> None:
    """Make `target` a copy of `source`, whole or not at all, with the matrix added to the connection file.

    `published.json` says of which artifacts it is and which files are ours; another file in `target` is taken along.
    """
    artifacts = {ref.identity: store.manifest_digest(ref) for ref in refs}
    before = _recorded(target)
    if before.get("artifacts") == artifacts:
        return
    if before:
        logger.info("%s is replaced: the recipe of this name has other results now", target)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            _link_or_copy(path, partial / path.relative_to(source))
    if matrix is not None:
        tensors = read_tensors(source / CONNECTION_FILE) | dict(read_transform_matrix(matrix).tensors)
        with written_atomically(partial / CONNECTION_FILE) as temporary:
            save_file(tensors, temporary)
    ours = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
    if before or not (target / _RECORD).exists():  # an earlier version's record does not say which files are ours
        _take_along(target, partial, {*before.get("files", ours), _RECORD})
    write_json(partial / _RECORD, {"artifacts": artifacts, "files": ours})
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)


def _recorded(target: Path) -> dict[str, Any]:
    """What the folder's record says; nothing where it has none of this form."""
    try:
        content = read_json(target / _RECORD)
    except ArtifactMismatch:
        return {}
    return content if isinstance(content, dict) and content.keys() == {"artifacts", "files"} else {}


def _take_along(target: Path, partial: Path, ours: set[str]) -> None:
    """Link or copy the files of `target` that are not `ours` into `partial`, unless one of their names is taken."""
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if path.is_file() and name not in ours and not (partial / name).exists():
            _link_or_copy(path, partial / name)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_size >= _LINK_FROM_BYTES:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without hard links: copy
    shutil.copyfile(source, target)
