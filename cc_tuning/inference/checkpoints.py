"""What a stage has to know of a checkpoint before it asks for answers; no weights of the language model are read."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from cc_tuning.errors import ConfigError
from cc_tuning.model import ConnectionMode, has_connection
from cc_tuning.model.checkpoint import CONNECTION_FILE, downloaded_model
from cc_tuning.model.transform_matrix import TRANSFORM_KEY
from cc_tuning.runtime.sources import Location
from data_contracts.errors import ArtifactMismatch


def connection_modes(checkpoint: Location, transform_matrix: Path | None) -> tuple[ConnectionMode, ...]:
    """In which ways a checkpoint can answer.

    `off` always; with a connection `parallel`, and `transform` where there is a matrix, given or in the checkpoint.

    Raises:
        ConfigError: a matrix was given for a checkpoint without a connection.
        ArtifactMismatch: the file of the connection is missing or damaged.
    """
    directory = downloaded_model(checkpoint.name, checkpoint.revision)
    if not has_connection(directory):
        if transform_matrix is not None:
            raise ConfigError(
                f"{checkpoint.name} has no cross-lingual connection, so {transform_matrix} cannot be used with it; "
                "leave the matrix out, or evaluate the checkpoint it was fitted on"
            )
        return ("off",)
    if transform_matrix is not None or _holds_matrix(directory / CONNECTION_FILE):
        return ("off", "transform", "parallel")
    return ("off", "parallel")


def _holds_matrix(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return TRANSFORM_KEY in file.keys()  # noqa: SIM118, it is no mapping
    except (SafetensorError, OSError) as error:
        raise ArtifactMismatch(
            f"{path} is missing, truncated or not safetensors: {error}; restore it, or train again"
        ) from error
