"""Results where people look for them: `OUTPUT/<recipe>/report/` and `OUTPUT/<recipe>/checkpoints/<run>/`.

The store keeps artifacts by fingerprint; this copies the finished ones to names. A published checkpoint holds the base
weights, the Decision Maker and the fitted Transform Matrix together, so it can be served as it is. `published_folder`
says how such a folder is kept whole.
"""

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file

from cc_tuning.errors import ConfigError
from cc_tuning.model.checkpoint import CONNECTION_FILE, read_tensors
from cc_tuning.model.transform_file import read_transform_matrix
from cc_tuning.pipeline.plan import Plan, RunPlan
from cc_tuning.pipeline.published_folder import Contents, keep_published
from cc_tuning.runtime.execution import Execution
from data_contracts.files import written_atomically
from data_contracts.layout import CHECKPOINT, TRANSFORM_MATRIX
from data_contracts.locks import held_lock
from data_contracts.store import ArtifactRef, ArtifactStore

_LOCK = ".publishing.lock"


def publish(plan: Plan, execution: Execution) -> Path:
    """Put the recipe's report and checkpoints under `execution.output`; returns the path of `index.html`.

    Folders that hold the current artifacts, every file of them whole, are left alone; others are mended or replaced.

    Raises:
        ConfigError: `execution.output` cannot be written, or a file stands where a folder of it belongs.
        ArtifactMismatch: the store does not hold what it says; run the stage again.
    """
    store = ArtifactStore(execution.store)
    folder = execution.output / plan.recipe.name
    try:
        with held_lock(folder / _LOCK, f"the results in {folder}"):  # two runs of one recipe may end at the same time
            keep_published(_contents(store, [plan.report.ref], store.path(plan.report.ref)), folder / "report")
            for run in plan.runs:
                if checkpoint := _checkpoint(store, run):
                    keep_published(checkpoint, folder / "checkpoints" / run.name)
    except OSError as error:
        if not _lies_below(error, execution.output):
            raise
        raise ConfigError(
            f"the results cannot be written to {error.filename}: {error.strerror}; make room for a folder there, or "
            "set `execution.output` to another place. The stages are finished, and nothing is computed again"
        ) from error
    return folder / "report" / "index.html"


def _lies_below(error: OSError, folder: Path) -> bool:
    return isinstance(error.filename, str) and Path(error.filename).absolute().is_relative_to(folder.absolute())


def _checkpoint(store: ArtifactStore, run: RunPlan) -> Contents | None:
    if run.train is None:
        return None  # nothing was trained: the model is where it was
    checkpoint = store.path(run.train.ref) / CHECKPOINT
    if run.transform is None:
        return _contents(store, [run.train.ref], checkpoint)
    matrix = store.path(run.transform.ref) / TRANSFORM_MATRIX

    def add_matrix(folder: Path) -> None:
        tensors = read_tensors(checkpoint / CONNECTION_FILE) | dict(read_transform_matrix(matrix).tensors)
        with written_atomically(folder / CONNECTION_FILE) as temporary:
            save_file(tensors, temporary)

    return _contents(store, [run.train.ref, run.transform.ref], checkpoint, add_matrix)


def _contents(
    store: ArtifactStore,
    refs: list[ArtifactRef],
    source: Path,
    change: Callable[[Path], None] = lambda _folder: None,
) -> Contents:
    """The files of the first of `refs` below `source`, with what `change` does to a copy of them."""
    below = source.relative_to(store.folder(refs[0])).as_posix()
    prefix = "" if below == "." else f"{below}/"
    records = [record for record in store.manifest(refs[0]).files if record.path.startswith(prefix)]
    return Contents(
        artifacts={ref.identity: store.manifest_digest(ref) for ref in refs},
        source=source,
        files={record.path.removeprefix(prefix): record.sha256 for record in records},
        change=change,
    )
