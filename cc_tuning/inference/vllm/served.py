"""The directory that vLLM loads for a checkpoint, and how it is told from others.

A checkpoint with a connection is exported into the work folder of its stage, its weights as links; one without is
loaded as it lies, unless its heads have to be padded. The name by which a server has to know a model is made from its
files, so an address that serves something else is not taken for it.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.inference.jobs import Dtype, InferenceJob
from cc_tuning.inference.prompts import check_can_connect
from cc_tuning.inference.vllm.requests import VllmRequest
from cc_tuning.model import has_connection
from cc_tuning.model.checkpoint import downloaded_model
from cc_tuning.model.padded_heads import pad_heads, padded_size
from cc_tuning.model.serving_export import SECTION, export_for_serving
from cc_tuning.runtime.jobs import WANTED
from cc_tuning.runtime.pretrained import load_config
from cc_tuning.runtime.sources import Location
from data_contracts.files import read_json, sha256_of_file

SERVED = "served"
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def with_served_model(job: InferenceJob) -> InferenceJob:
    """The same job, its checkpoint the directory that vLLM loads; written anew, for the map may be another one.

    Raises:
        ConfigError: a shard asks a checkpoint without a connection for one, or the checkpoint has no map.
        UnsupportedModel: a family, a setting or a map that is not served.
    """
    directory = downloaded_model(job.checkpoint.name, job.checkpoint.revision)
    for shard in job.shards:
        check_can_connect(has_connection(directory), shard.connection)
    served = job.folder / WANTED / SERVED
    shutil.rmtree(served, ignore_errors=True)
    if has_connection(directory):
        export_for_serving(directory, served, job.transform_matrix, link_weights=True)
        directory = served
    elif not job.execution.vllm_url and padded_size(read_json(directory / "config.json")):
        # A server behind an address has loaded the directory as it lies, and is known by a name made from that.
        shutil.copytree(directory, served)
        pad_heads(served)
        directory = served
    return job.model_copy(update={"checkpoint": Location(str(directory)), "transform_matrix": None})


def english_of(directory: Path) -> str | None:
    """What a served checkpoint does with English prompts (`connection.english`); None without a connection."""
    section = read_json(directory / "config.json").get(SECTION)
    return None if section is None else str(section["english"])


def name_of_model(directory: Path) -> str:
    """The name that a server of this very model has to know it by, made from its config and all its weights.

    Which artifacts an export was made from counts nothing: a published checkpoint and the one in the store are one.
    """
    config = read_json(directory / "config.json")
    config.get(SECTION, {}).pop("fingerprints", None)
    parts = [f"{file.name} {sha256_of_file(file)}" for file in sorted(directory.glob("*.safetensors"))]
    text = "\n".join([*parts, json.dumps(config, sort_keys=True)])
    return f"cc-tuning-{sha256(text.encode()).hexdigest()[:16]}"


def dtype_of(directory: Path, asked: Dtype) -> str:
    """The dtype to compute in; `auto` is that of the files, where vLLM by itself would make bfloat16 of float32.

    Raises:
        UnsupportedModel: the files have a dtype that models are not computed in.
    """
    if asked != "auto":
        return asked
    said = load_config(Location(str(directory))).dtype
    if isinstance(said, torch.dtype):
        return str(said).removeprefix("torch.")
    first = sorted(directory.glob("*.safetensors"))[0]
    with safe_open(first, "pt") as file:
        saved = file.get_slice(sorted(file.keys())[0]).get_dtype()
    if saved not in _DTYPES:
        raise UnsupportedModel(f"{first} holds weights of dtype {saved}; expected one of {', '.join(_DTYPES)}")
    return _DTYPES[saved]


def needed_context(directory: Path, requests: Iterable[VllmRequest]) -> int:
    """The longest context that any of the requests takes.

    Raises:
        ConfigError: the model has not that much; vLLM would cut the answer without a word.
    """
    needed = max(request.length for request in requests)
    context = load_config(Location(str(directory))).max_position_embeddings
    if needed > context:
        raise ConfigError(
            f"a prompt with its answer takes {needed} tokens, and the context of {directory} is {context}; ask for "
            "fewer new tokens, leave the prompt out, or use a model with a longer context"
        )
    return needed


if __name__ == "__main__":
    sys.stdout.write(name_of_model(Path(sys.argv[1])) + "\n")
