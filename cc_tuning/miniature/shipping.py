"""Weights between the package and a model directory: bfloat16 in the one, float32 in the other.

Half of the bytes are enough to ship, but not to compute with: passes on a CPU would be slower and coarser. The model
that is packed is therefore the bfloat16 one, and what figures are measured on is what is unpacked.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cc_tuning.miniature.shipped import Kind, check_files
from cc_tuning.runtime.step import Build
from data_contracts.files import ordinary_mode
from data_contracts.layout import LOSSES, PRACTICE_LOSSES
from data_contracts.manifest import RowCounts

WEIGHTS = "model.safetensors"


def unpack_shipped(kind: Kind, model_class: Any, build: Build[Any]) -> RowCounts:
    """Fill a stage's folder with the shipped model, its weights in float32; no row is read.

    Raises:
        ArtifactMismatch: the shipped files are not those of their manifest.
    """
    folder = build.inputs["shipped"].path
    check_files(kind, folder.parent)
    unpack(model_class, folder, build.folder)
    build.progress(1, 1, "models")
    return RowCounts(read=0, kept=0)


def unpack(model_class: Any, packed: Path, folder: Path) -> None:
    """Write the model at `packed` to `folder` as an ordinary directory with float32 weights."""
    copy_beside_weights(packed, folder)
    model_class.from_pretrained(packed, dtype=torch.float32, trust_remote_code=False).save_pretrained(folder)


def pack(trained: Path, folder: Path) -> None:
    """Write the model that a stage left in `trained` to `folder`, its weights rounded to bfloat16.

    Tied weights stand in the file once, as `save_pretrained` left them.
    """
    copy_beside_weights(trained, folder)
    weights = {name: tensor.bfloat16() for name, tensor in load_file(trained / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(ordinary_mode())  # it is written readable for its owner alone


def copy_beside_weights(source: Path, folder: Path) -> None:
    """Copy every file of a model directory but the weights, and the logs of its training."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name not in (WEIGHTS, LOSSES, PRACTICE_LOSSES):
            shutil.copyfile(file, folder / file.name)
