"""The file of a fitted Transform Matrix, and the checkpoint it belongs to.

The map of one checkpoint is meaningless in another, even of the same shape. So the file says, in the metadata of its
safetensors header, which model it was fitted on: its family and sizes, what the connection reads and where, and a
fingerprint of its weights. A file without them, as another tool may write it, is only held against the shapes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.checkpoint import CONNECTION_FILE, Description, read_connection, read_tensors
from cc_tuning.model.transform_matrix import TRANSFORM_KEY, TransformMatrix
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import written_atomically

_SAMPLED_BYTES = 1 << 20
_ORIGIN_KEY = "fitted_on"


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a Transform Matrix was fitted on."""

    family: str
    layers: int
    hidden_size: int
    weights: str
    """`fingerprint_of_weights` of its directory."""
    connection: str = ""
    """What is read of a prompt: source, site, position and offset; empty in files of before it was recorded."""

    @classmethod
    def of(cls, directory: Path) -> "Origin":
        """The origin of what is fitted on the checkpoint in `directory`."""
        saved = read_connection(directory)
        return cls(*_sizes(saved.description), fingerprint_of_weights(directory), _read_at(saved.description))


def write_transform_matrix(path: Path, transform: TransformMatrix, origin: Origin) -> None:
    """Write the map in float32 and its origin, whole or not at all."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in transform.to("cpu", torch.float32).tensors.items()}
    with written_atomically(path) as temporary:
        save_file(tensors, temporary, metadata={_ORIGIN_KEY: json.dumps(asdict(origin), sort_keys=True)})


def read_transform_matrix(path: Path) -> TransformMatrix:
    """The map in a transform artifact, `transform_matrix.safetensors`.

    Raises:
        ArtifactMismatch: the file is missing or damaged, or holds no transform matrix.
    """
    tensors = read_tensors(path)
    names = sorted(tensors)
    transform = TransformMatrix.taken_from(tensors)
    if transform is None or tensors:
        raise ArtifactMismatch(
            f"{path} holds {names}, expected {TRANSFORM_KEY!r} and at most an intercept and a second factor; "
            "pass the file that the transform stage writes"
        )
    return transform


def check_fitted_on(path: Path, directory: Path, description: Description) -> None:
    """Refuse the Transform Matrix in `path` for the checkpoint in `directory`, unless it was fitted on it.

    Raises:
        UnsupportedModel: it was fitted on a model of another family or size.
        ArtifactMismatch: it was fitted on a model with other weights, or on activations of another source or place, or
            its origin cannot be read.
    """
    origin = _read_origin(path)
    if origin is None:
        return
    fitted_on = (origin.family, origin.layers, origin.hidden_size)
    if fitted_on != _sizes(description):
        raise UnsupportedModel(
            f"the transform matrix in {path} was fitted on a model of (family, layers, hidden size) {fitted_on}, the "
            f"checkpoint {directory} is {_sizes(description)}. Fit the matrix on this checkpoint"
        )
    if origin.connection and origin.connection != _read_at(description):
        raise ArtifactMismatch(
            f"the transform matrix in {path} was fitted on activations read at {origin.connection}, the checkpoint "
            f"{directory} is connected at {_read_at(description)}. Fit the matrix on this checkpoint"
        )
    weights = fingerprint_of_weights(directory)
    if origin.weights != weights:
        raise ArtifactMismatch(
            f"the transform matrix in {path} was fitted on other weights (fingerprint {origin.weights[:12]}) than "
            f"those in {directory} ({weights[:12]}). Fit the matrix on this checkpoint, or take the one fitted on it"
        )


def fingerprint_of_weights(directory: Path) -> str:
    """A sha256 that tells one trained checkpoint from another without reading all of it, 64 hex digits.

    Over the selector's weights, which no two trainings share, and of each file of base weights its name, its size, and
    its first and last MiB (a selector without weights leaves only these). A Transform Matrix that was put into the
    checkpoint does not count.
    """
    digest = hashlib.sha256()
    selector = read_connection(directory).parts.selector_state
    for name in sorted(selector):
        digest.update(name.encode() + selector[name].contiguous().view(torch.uint8).numpy().tobytes())
    for path in sorted(directory.glob("*.safetensors")):
        if path.name == CONNECTION_FILE:
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(size - _SAMPLED_BYTES, 0))
            digest.update(file.read())
    return digest.hexdigest()


def _read_origin(path: Path) -> Origin | None:
    with safe_open(path, "pt") as file:
        metadata: Mapping[str, str] = file.metadata() or {}
    if _ORIGIN_KEY not in metadata:
        return None
    try:
        return Origin(**json.loads(metadata[_ORIGIN_KEY]))
    except (TypeError, ValueError) as error:
        raise ArtifactMismatch(
            f"{path} does not say which checkpoint it was fitted on in a form this version reads: {error}; fit it again"
        ) from error


def _read_at(description: Description) -> str:
    connection = description.connection
    several = f" and the {connection.positions - 1} before" if connection.positions > 1 else ""
    return (
        f"source {connection.source}, site {connection.site}, {connection.position} less {connection.offset}{several}"
    )


def _sizes(description: Description) -> tuple[str, int, int]:
    return description.family, description.layers, description.hidden_size
