"""A checkpoint as a directory that vLLM loads with no flag: base weights, connection, template and stop tokens.

`config.json` names an architecture of the plugin `cc-tuning-vllm` (`serving/`) and gets a section, `cc_tuning`, that
says what the connection is; its tensors are one more safetensors file of the index. The plugin imports nothing of this
project: the directory is all that the two share. It stays an ordinary model directory for every other tool.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model.checkpoint import CONNECTION_FILE, SavedConnection, load_selector, read_connection
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.model.decision_maker import build_selector
from cc_tuning.model.normalisation import ActivationNormalisation
from cc_tuning.model.padded_heads import pad_heads
from cc_tuning.model.transform_file import check_fitted_on, read_transform_matrix
from cc_tuning.model.transform_matrix import FORM_KEY, INTERCEPT_KEY, OUTPUT_KEY, TRANSFORM_KEY, TransformMatrix
from cc_tuning.text.prompts import load_tokenizer, stop_token_ids
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json, write_json, written_atomically

SECTION = "cc_tuning"
SECTION_FORMAT = 1
SERVED_CONNECTION_FILE = "connection.safetensors"
PREFIX = "connection."
"""Of the connection's tensors among a model's weights."""
ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        "llama": "CcTuningLlamaForCausalLM",
        "qwen2": "CcTuningQwen2ForCausalLM",
        "qwen3": "CcTuningQwen3ForCausalLM",
        "mistral": "CcTuningMistralForCausalLM",
        "gemma3_text": "CcTuningGemma3ForCausalLM",
    }
)
"""The families that the plugin serves, by `config.model_type`."""
_SERVED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "selector": ("decision_maker", "mean", "random"),
        "source": ("ffn", "attention", "block"),
        "site": ("contribution", "block_output"),
        "normalise": ("none", "centred", "standardised"),
        "position": ("last_prompt_token",),
    }
)
"""What the plugin computes, setting by setting."""
_NUMBERS = frozenset({"scale", "offset", "seed"})
"""Settings that it computes with whatever they are."""
_BEFORE_SERVING = frozenset(
    {"statistics_rows", "english_gradient", "predicted_share", "predicted_refit"}
    | {"english", "temperature", "final_temperature", "temperature_course"}
)
"""Settings of training; and which English prompts keep their own activations, which a request says itself."""
SERVED_INDEX = "model.safetensors.index.json"
_TEXT_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt",
)  # fmt: skip


@dataclass(frozen=True)
class ServingExport:
    """What a directory for serving holds."""

    architecture: str
    parameters: int
    """Of the connection: selector, map and statistics."""
    stop_token_ids: tuple[int, ...]


def export_for_serving(
    checkpoint: Path, directory: Path, transform_matrix: Path | None = None, *, link_weights: bool = False
) -> ServingExport:
    """Write the model in `checkpoint` to `directory` as vLLM loads it, whole or not at all.

    `transform_matrix` is the file of a transform artifact, for a checkpoint that was saved without its map. With
    `link_weights` the base weights are links into `checkpoint`, for a directory that lives no longer than it.

    Raises:
        ConfigError: the checkpoint has no connection, no map or no chat template, or `directory` holds something.
        UnsupportedModel: a family, or a form of the map, that cannot be served.
        ArtifactMismatch: a file is missing or damaged, or the parts do not belong together.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} is there and not an empty folder; choose a name that is free")
    saved = read_connection(checkpoint)
    if saved.description.family not in ARCHITECTURES:
        raise UnsupportedModel(
            f"{checkpoint} is a model of type {saved.description.family!r}; served are {', '.join(ARCHITECTURES)}. "
            "Evaluate it with the engine transformers, or add its family to the plugin in serving/"
        )
    check_served(saved.description.connection)
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    transform = _transform_of(checkpoint, saved, transform_matrix)
    transform.check_fits(config.num_hidden_layers, config.hidden_size)
    tensors = _tensors(checkpoint, saved, transform, config)
    stops = stop_token_ids(load_tokenizer(checkpoint))
    partial = directory.absolute().with_name(f".{directory.absolute().name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write_settings(checkpoint, partial, _section(saved, transform), stops)
        _write_weights(checkpoint, partial, tensors, link_weights)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error}; name a folder with enough space") from error
    if directory.exists():
        directory.rmdir()
    partial.replace(directory)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    return ServingExport(ARCHITECTURES[saved.description.family], parameters, stops)


def check_served(connection: ConnectionConfig) -> None:
    """Refuse a connection that the plugin does not compute.

    Raises:
        UnsupportedModel: a setting has a value that it does not know, or it does not know the setting and it is in use.
    """
    values = {name: getattr(connection, name) for name in ConnectionConfig.model_fields}
    for name, value in values.items():
        if name in _SERVED:
            known: tuple[object, ...] = _SERVED[name]
        elif name in _NUMBERS | _BEFORE_SERVING:
            continue
        else:
            known = (ConnectionConfig.model_fields[name].get_default(),)
        if value not in known:
            raise UnsupportedModel(
                f"connection.{name} is {value!r}, which is not served; served is {', '.join(map(repr, known))}. "
                "Evaluate the checkpoint with the engine transformers"
            )


def _transform_of(checkpoint: Path, saved: SavedConnection, file: Path | None) -> TransformMatrix:
    """The map to serve with, of a form that the plugin computes."""
    transform = saved.parts.transform
    if file is not None:
        transform = read_transform_matrix(file)
        check_fitted_on(file, checkpoint, saved.description)
    if transform is None:
        raise ConfigError(
            f"{checkpoint} has a connection and no Transform Matrix, so it cannot answer without an English prompt. "
            "Pass the file of the transform stage with --transform-matrix"
        )
    unknown = sorted(set(transform.tensors) - {TRANSFORM_KEY, INTERCEPT_KEY, OUTPUT_KEY, FORM_KEY})
    if transform.features not in ("layer", "all_layers") or transform.languages or unknown:
        form = "intercepts for each language" if transform.languages else f"the features {transform.features!r}"
        raise UnsupportedModel(
            f"the map of {checkpoint} has {form if not unknown else ', '.join(unknown)}, and serving has neither a "
            "prompt's language nor the mean over its tokens: a server reads prompts in chunks and from its cache. Fit "
            "it with transform.features `layer` or `all_layers` and `transform.intercept: true` or false"
        )
    return transform


def _tensors(
    checkpoint: Path, saved: SavedConnection, transform: TransformMatrix, config: PretrainedConfig
) -> dict[str, Tensor]:
    """The connection's tensors, float32, under the names that the plugin's module gives them."""
    connection, layers, hidden_size = saved.description.connection, config.num_hidden_layers, config.hidden_size
    selector = build_selector(connection, hidden_size, layers, config.initializer_range)
    load_selector(selector, saved, config, checkpoint)
    normalisation = ActivationNormalisation(connection.normalise, layers, hidden_size)
    normalisation.load(saved.parts.statistics, checkpoint / CONNECTION_FILE)
    parts = {
        "decision_maker": saved.parts.selector_state.get("weight"),
        "transform_matrix": transform.matrix,
        "transform_intercept": transform.intercept,
        "transform_output": transform.output,
        "activation_mean": normalisation.mean,
        "activation_divisor": normalisation.divisor,
    }
    return {PREFIX + name: part.float().contiguous() for name, part in parts.items() if part is not None}


def _section(saved: SavedConnection, transform: TransformMatrix) -> dict[str, Any]:
    """The section of `config.json`: the settings that count at inference, and the shapes of the map."""
    connection = saved.description.connection
    shapes = {"matrix": transform.matrix, "intercept": transform.intercept, "output": transform.output}
    return {
        "format": SECTION_FORMAT,
        **connection.model_dump(include={*_SERVED, *_NUMBERS}),
        "scale": _scale(saved),
        "features": transform.features,
        "shapes": {name: list(part.shape) for name, part in shapes.items() if part is not None},
        "english": connection.english,
        "fingerprints": saved.description.fingerprints,
    }


def _scale(saved: SavedConnection) -> float | None:
    """The length of `v` as a share of that of `f_1`, a learned one as the number that was learned; None: as it is."""
    connection = saved.description.connection
    if connection.scale == "learned":
        return float(saved.parts.selector_state["log_scale"].float().exp())
    return connection.scale


def _write_weights(checkpoint: Path, directory: Path, tensors: Mapping[str, Tensor], link: bool) -> None:
    """Copy or link the base weights, written anew where heads are padded; write the connection's beside them, and an
    index of both."""
    files = sorted(checkpoint.glob("model*.safetensors"))
    if not files:
        raise ArtifactMismatch(f"{checkpoint} holds no model*.safetensors; run the stage that writes it again")
    weight_map: dict[str, str] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                weight_map |= dict.fromkeys(opened.keys(), file.name)
        except (SafetensorError, OSError) as error:
            raise ArtifactMismatch(f"{file} is truncated or not safetensors: {error}; restore it") from error
        if link:
            (directory / file.name).symlink_to(file.resolve())
        else:
            shutil.copyfile(file, directory / file.name)
    pad_heads(directory)
    with written_atomically(directory / SERVED_CONNECTION_FILE) as temporary:
        save_file(dict(tensors), temporary)
    weight_map |= dict.fromkeys(tensors, SERVED_CONNECTION_FILE)
    size = sum((directory / name).stat().st_size for name in set(weight_map.values()))
    write_json(directory / SERVED_INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _write_settings(checkpoint: Path, directory: Path, section: dict[str, Any], stops: tuple[int, ...]) -> None:
    """Write `config.json`, the generation defaults with the stop ids, and the tokenizer with its template."""
    config = read_json(checkpoint / "config.json")
    config |= {"architectures": [ARCHITECTURES[config["model_type"]]], SECTION: section}
    write_json(directory / "config.json", config)
    generation_file = checkpoint / "generation_config.json"
    generation = json.loads(generation_file.read_text(encoding="utf-8")) if generation_file.is_file() else {}
    write_json(directory / generation_file.name, generation | {"eos_token_id": list(stops)})
    for pattern in _TEXT_FILES:
        for file in sorted(checkpoint.glob(pattern)):
            copy = shutil.copytree if file.is_dir() else shutil.copyfile
            copy(file, directory / file.name)
