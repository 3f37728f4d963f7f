"""A checkpoint on disk: an ordinary Hugging Face model directory with two more files.

`cross_lingual_connection.safetensors` holds the selector's weights (`decision_maker.weight`), the statistics that
activations are normalised with if there are any and, once fitted, the Transform Matrix;
`cross_lingual.json` says what they are. Any tool can load the base weights and never sees them. Files are written
under a temporary name and renamed, `cross_lingual.json` last: where it is present, the rest is whole.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from cc_tuning.errors import CcTuningError, ConfigError, UnsupportedModel, in_one_line
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.earlier_transformers import write_earlier_config_keys
from cc_tuning.model.normalisation import ActivationStatistics
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.runtime.pretrained import (
    refusing_remote_code,
    require_finite,
    require_sound_weights,
    savable_generation_settings,
)
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json, written_atomically

CONNECTION_FILE = "cross_lingual_connection.safetensors"
DESCRIPTION_FILE = "cross_lingual.json"
FORMAT = 5
_BEFORE_SITES = 1
"""The format that knows no `connection.site`: the place was the block's own output."""
_BEFORE_NORMALISATION = 2
"""The format that knows no `connection.normalise` and `connection.scale`; their defaults are what there was."""
_BEFORE_PREDICTION = 3
"""The format that knows no `connection.predicted_share` and no learned `connection.scale`; the same holds of it."""
_BEFORE_TARGETS = 4
"""The format that knows no `connection.target`, `gate` and `positions`; the same holds of it."""
_READ_FORMATS = (_BEFORE_SITES, _BEFORE_NORMALISATION, _BEFORE_PREDICTION, _BEFORE_TARGETS, FORMAT)
_SELECTOR_PREFIX = "decision_maker."


class Description(BaseModel):
    """The content of `cross_lingual.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    family: str
    layers: int
    hidden_size: int
    connection: ConnectionConfig
    stop_token_ids: tuple[int, ...]
    fingerprints: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class ConnectionParts:
    """The tensors of a connection, float32."""

    selector_state: Mapping[str, Tensor]  # of the selector module, without its prefix
    transform: TransformMatrix | None
    statistics: ActivationStatistics | None  # with `connection.normalise` only


@dataclass(frozen=True)
class SavedConnection:
    """The content of a checkpoint beside its base model."""

    description: Description
    parts: ConnectionParts


def has_connection(directory: Path | str) -> bool:
    """Whether a model directory was saved with a cross-lingual connection."""
    return (Path(directory) / DESCRIPTION_FILE).is_file()


def write_checkpoint(directory: Path, base: PreTrainedModel, description: Description, parts: ConnectionParts) -> None:
    """Write the base model, its connection and the description into `directory`, each file whole or absent."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DESCRIPTION_FILE).unlink(missing_ok=True)
    write_base_model(directory, base, description.stop_token_ids)
    write_connection(directory, description, parts)


def write_connection(directory: Path, description: Description, parts: ConnectionParts) -> None:
    """Write the connection's two files, the description last."""
    tensors = {_SELECTOR_PREFIX + name: tensor for name, tensor in parts.selector_state.items()}
    for part in (parts.transform, parts.statistics):
        tensors |= {} if part is None else part.tensors
    with written_atomically(directory / CONNECTION_FILE) as temporary:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary)
    write_json(directory / DESCRIPTION_FILE, description.model_dump(mode="json"))


def write_base_model(directory: Path, base: PreTrainedModel, stop_token_ids: Sequence[int]) -> None:
    """Write an ordinary Hugging Face directory whose generation stops at `stop_token_ids`."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".base.") as name:
        written = Path(name)
        base.save_pretrained(written)
        write_earlier_config_keys(written)
        if stop_token_ids:
            generation = type(base.generation_config).from_dict(base.generation_config.to_dict())
            generation.eos_token_id = list(stop_token_ids)
            generation.save_pretrained(written)
        names = {file.name for file in written.iterdir()}
        # Shards of an earlier, larger save would be loaded in the place of the new weights.
        for stale in sorted(directory.glob("model*.safetensors*")):
            if stale.name not in names:
                stale.unlink()
        for file in sorted(written.iterdir()):
            with written_atomically(directory / file.name) as temporary:
                file.replace(temporary)


def read_connection(directory: Path) -> SavedConnection:
    """The connection of a checkpoint directory.

    Raises:
        ConfigError: the directory has no connection, or one of a newer format.
        ArtifactMismatch: a file is missing, truncated or not what this format writes.
    """
    if not has_connection(directory):
        raise ConfigError(
            f"{directory} has no cross-lingual connection: {DESCRIPTION_FILE} is missing. "
            + (
                "It is an ordinary model; load it with transformers"
                if (directory / "config.json").is_file()
                else "Expected the checkpoint directory of a CC-Tuning run"
            )
        )
    content = read_json(directory / DESCRIPTION_FILE)
    if isinstance(content, dict) and content.get("format") not in _READ_FORMATS:
        raise ConfigError(
            f"{directory / DESCRIPTION_FILE} has format {content.get('format')!r}, this version reads {FORMAT}; "
            "use the version of cc-tuning that wrote it, or train again"
        )
    if isinstance(content, dict) and content["format"] == _BEFORE_SITES and isinstance(content["connection"], dict):
        content["connection"]["site"] = "block_output"
    try:
        description = Description.model_validate(content)
    except ValidationError as error:
        raise ArtifactMismatch(f"{directory / DESCRIPTION_FILE} is damaged: {error}; train again") from error
    tensors = read_tensors(directory / CONNECTION_FILE)
    require_finite(tensors.items(), str(directory / CONNECTION_FILE))
    transform, statistics = TransformMatrix.taken_from(tensors), ActivationStatistics.taken_from(tensors)
    state = {name.removeprefix(_SELECTOR_PREFIX): tensor for name, tensor in tensors.items()}
    return SavedConnection(description, ConnectionParts(state, transform, statistics))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        ArtifactMismatch: the file is missing, truncated or not safetensors.
    """
    if not path.is_file():
        raise ArtifactMismatch(f"{path} is missing; run the stage that writes it again")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactMismatch(
            f"{path} ({path.stat().st_size} bytes) is truncated or not safetensors: {error}; "
            "delete it and run the stage that writes it again"
        ) from error


def downloaded_model(name: str, revision: str | None) -> Path:
    """The directory of a base model: `name` itself, or for a hub id with its revision the downloaded files.

    Raises:
        UnsupportedModel: it cannot be downloaded.
    """
    if revision is None:
        return Path(name)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, HfHubHTTPError) as error:
        raise UnsupportedModel(f"the base model {name} could not be downloaded: {error}") from error


def read_base_model(directory: Path, dtype: torch.dtype | str, attention: str = "sdpa") -> PreTrainedModel:
    """The causal language model of a directory, in evaluation mode, with an attention implementation of transformers.

    Raises:
        ConfigError: this machine or model cannot run that attention.
        UnsupportedModel: it needs code of its own, is not as large as its config says, or its weights are no numbers.
        ArtifactMismatch: files are missing or damaged, or weights are absent. transformers alone would fill absent
            weights with random numbers and a warning.
    """
    if not (directory / "config.json").is_file():
        raise ArtifactMismatch(f"{directory} is not a model directory: config.json is missing; train again")
    require_sound_weights(directory)
    try:
        with refusing_remote_code(str(directory)):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=dtype,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (CcTuningError, BrokenPipeError):  # of a warning that nobody reads: it says nothing about the weights
        raise
    except Exception as error:
        raise _failure_of_loading(error, directory, attention) from error
    model, report = loaded
    absent = [*report["missing_keys"], *report["mismatched_keys"]]
    if absent:
        raise ArtifactMismatch(
            f"the weights in {directory} do not fill the model of its config.json: {len(absent)} absent or of "
            f"another shape, the first {absent[0]!r}. Run the stage that writes it again"
        )
    require_finite(model.named_parameters(), str(directory))
    model.generation_config = savable_generation_settings(model.generation_config)
    return model.eval()


def _failure_of_loading(error: Exception, directory: Path, attention: str) -> Exception:
    """What an error of transformers means; of a config that somebody wrote by hand, it raises any."""
    reason = in_one_line(str(error), 1_000) or type(error).__name__
    if isinstance(error, SafetensorError | OSError | RuntimeError):
        return ArtifactMismatch(
            f"the model in {directory} cannot be loaded: {reason}; its weights are missing or damaged. Run the stage "
            "that writes it again"
        )
    if isinstance(error, ImportError) or (isinstance(error, ValueError) and "att" in reason.lower()):
        return ConfigError(
            f"execution.attention is {attention!r}, which the model in {directory} cannot use here: {reason}; set it "
            "to sdpa or eager"
        )
    return UnsupportedModel(f"the config.json in {directory} describes no model that can be built: {reason}")


def load_selector(selector: nn.Module, saved: SavedConnection, config: PretrainedConfig, directory: Path) -> None:
    """Fill `selector` from a checkpoint, after checking that connection and base model belong together.

    Raises:
        ArtifactMismatch: the description names another model, or the selector's weights are absent or of another shape.
    """
    described = (saved.description.family, saved.description.layers, saved.description.hidden_size)
    loaded = (config.model_type, config.num_hidden_layers, config.hidden_size)
    if described != loaded:
        raise ArtifactMismatch(
            f"{directory / DESCRIPTION_FILE} describes (family, layers, hidden size) {described}, the base model "
            f"beside it is {loaded}; restore the checkpoint's own config.json and weights"
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in saved.parts.selector_state.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in selector.state_dict().items()}
    if shapes != expected:
        raise ArtifactMismatch(
            f"{directory / CONNECTION_FILE} holds selector weights {shapes}, expected {expected} for the selector "
            f"{saved.description.connection.selector!r}; restore the file or train again"
        )
    selector.load_state_dict(saved.parts.selector_state)
