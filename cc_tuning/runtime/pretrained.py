"""Models as other people publish them: what of one can be used here is said from its headers, before it is loaded.

A repository may bring Python code of its own. transformers asks on the terminal whether to run what `auto_map` in
config.json or tokenizer_config.json names, and runs it on `y`. With `trust_remote_code=False` it raises instead, and
every loader here says so: the code never runs, and nobody is asked.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PretrainedConfig

from cc_tuning.errors import CcTuningError, UnsupportedModel, in_one_line
from cc_tuning.runtime.model_sizes import faults_of_sizes
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.weight_files import WeightFiles, json_value

logger = logging.getLogger(__name__)

_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@contextmanager
def refusing_remote_code(name: str, failure: type[CcTuningError] = UnsupportedModel) -> Iterator[None]:
    """A context that turns transformers' question about the code of repository `name` into a `failure` that names it.

    Raises:
        CcTuningError: (as `failure`) the repository cannot be loaded without running its code.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise failure(
            f"{name} brings Python code of its own (`auto_map`), which it cannot be loaded without; remote code is "
            "never run here. Use a model and a tokenizer of a family that transformers itself has"
        ) from error


def load_config(location: Location) -> PretrainedConfig:
    """The config.json of a model: a directory, or of the hub at a pinned revision.

    Raises:
        UnsupportedModel: it cannot be read or downloaded, is of a kind that transformers does not know, or needs code
            of its own.
    """
    try:
        with refusing_remote_code(location.name):
            return AutoConfig.from_pretrained(
                location.name, revision=location.revision or "main", trust_remote_code=False
            )
    except CcTuningError:
        raise
    except Exception as error:  # of a file that somebody wrote by hand, transformers raises any
        reason = in_one_line(str(error), 1_000) or type(error).__name__
        raise UnsupportedModel(f"the config.json of {location.name} cannot be used: {reason}") from error


def savable_generation_settings(settings: GenerationConfig) -> GenerationConfig:
    """`settings`, or what of them can be saved: transformers loads sampling without `do_sample`, but does not save it.

    Nothing here decodes by a model's own settings, so what is left out changes no answer.
    """
    try:
        settings.validate(strict=True)
    except ValueError as error:
        first = str(error).strip().splitlines()[0]
        logger.warning("generation_config.json of the base model cannot be saved (%s); its token ids alone are", first)
        return GenerationConfig(**{name: getattr(settings, name, None) for name in _TOKEN_IDS})
    return settings


def faults_of_model(weights: WeightFiles) -> Iterator[str]:
    """Why a directory is no causal language model that can be trained here, each with what to do; none are good.

    Only JSON files and the headers of weights are read.
    """
    directory = weights.directory
    adapter = json_value(directory / "adapter_config.json")
    if isinstance(adapter, dict) and not (directory / "config.json").is_file():
        yield (
            f"is an adapter ({adapter.get('peft_type')}), not a model; give the model it was trained on, "
            f"{adapter.get('base_model_name_or_path')!r}, or merge the two and give the folder of the result"
        )
        return
    config = json_value(directory / "config.json")
    if not isinstance(config, dict):
        kind = "is no JSON object" if (directory / "config.json").is_file() else "is missing"
        yield f"config.json {kind}; expected the folder of a model, as `save_pretrained` writes it"
    else:
        yield from _faults_of_config(config)
    yield from _faults_of_generation(directory / "generation_config.json")
    yield from weights.faults
    if isinstance(config, dict):
        yield from _faults_of_sizes(config, weights)


def _faults_of_generation(path: Path) -> Iterator[str]:
    """transformers passes over a file that it cannot read, and stops at a wrong one when the model is saved."""
    if not path.is_file():
        return
    settings = json_value(path)
    if not isinstance(settings, dict):
        yield f"{path.name} is no JSON object; mend it, or remove it"
        return
    for name in _TOKEN_IDS:
        ids = settings.get(name)
        if ids is not None and not all(type(each) is int for each in (ids if isinstance(ids, list) else [ids])):
            yield f"{name} of {path.name} is {ids!r}, expected a token's number or a list of them; mend or remove it"
    try:
        GenerationConfig.from_dict(settings)
    except Exception as error:  # of a file that somebody wrote by hand, transformers raises any
        yield f"{path.name} cannot be used: {in_one_line(str(error))}; mend it, or remove it"


def _faults_of_config(config: dict[str, Any]) -> Iterator[str]:
    kind = config.get("model_type")
    quantisation = config.get("quantization_config")
    if isinstance(quantisation, dict):
        yield (
            f"its weights are quantised ({quantisation.get('quant_method', 'by an unnamed method')}); take the "
            "original weights that they were made of"
        )
    if isinstance(inner := config.get("text_config"), dict):
        yield (
            f"is a model of several parts (type {kind!r}) around a language model of type "
            f"{inner.get('model_type')!r}; take the language model alone, saved as a causal one"
        )
    if config.get("is_encoder_decoder"):
        yield f"is an encoder with a decoder (type {kind!r}); expected a causal language model"


def _faults_of_sizes(config: dict[str, Any], weights: WeightFiles) -> Iterator[str]:
    return faults_of_sizes(config, {} if weights.faults else weights.shapes)  # of a part, no sizes can be told


def require_sound_weights(directory: Path) -> None:
    """Refuse a model that is not as large as its config.json says, or whose index of weights leads elsewhere.

    Where weights are missing or damaged, loading them says so.

    Raises:
        UnsupportedModel: names the first fault.
    """
    weights = WeightFiles(directory)
    if weights.foreign:
        raise UnsupportedModel(f"{directory}: {weights.foreign}")
    config = json_value(directory / "config.json")
    if isinstance(config, dict) and (fault := next(_faults_of_sizes(config, weights), "")):
        raise UnsupportedModel(f"{directory}: {fault}")


def require_finite(weights: Iterable[tuple[str, Tensor]], name: str) -> None:
    """Refuse weights that are not numbers: with them every answer is noise, and every training diverges at once.

    Raises:
        UnsupportedModel: names the first such tensor.
    """
    for place, weight in weights:
        if weight.is_meta or not weight.numel() or not weight.is_floating_point():
            continue
        low, high = torch.aminmax(weight.detach())  # NaN travels through both
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise UnsupportedModel(
                f"the weights of {name} hold values that are no finite numbers, first in {place}; fetch or make them "
                "again"
            )
