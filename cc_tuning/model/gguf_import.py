"""A GGUF file as an ordinary Hugging Face model directory, to start a recipe from.

Small models are often at hand as GGUF only. transformers reads such a file into weights, tokenizer and config; what it
gives still counts as quantised and cannot be saved, so the weights move into a fresh model of the same config. The
directory is loaded again and compared before it takes its name. Its weights are those of the quantised file: what
quantisation rounded away stays lost, and a note beside them says so.
"""

import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from cc_tuning.errors import CcTuningError, ConfigError, UnsupportedModel
from cc_tuning.model.checkpoint import read_base_model
from cc_tuning.model.earlier_transformers import write_earlier_config_keys, write_earlier_tokenizer_keys
from cc_tuning.runtime.pretrained import refusing_remote_code
from cc_tuning.text.prompts import PLACE_OF_LOADING
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import sha256_of_file

_MAGIC = b"GGUF"
_DTYPES = ("float32", "bfloat16", "float16")
_PROBE = "The capital of Kenya is Nairobi. 肯尼亚的首都是内罗毕。 केन्या की राजधानी नैरोबी है।\n 1, 2  3"
_NOTE = """# {name}

Made from `{file}` (sha256 {sha256}) by `cc-tuning import-gguf`: {parameters:,} weights as {dtype}, dequantised from
{quantisation}. What quantisation rounded away is lost, so this is not the original model.

- Licence, as the file says: {licence}. It binds this directory too; read it before you publish anything made from it.
- Architecture: {architecture}; organisation: {organisation}.
"""


@dataclass(frozen=True)
class ImportedModel:
    """What a file was, and what became of it."""

    name: str
    licence: str
    """As the file says it, or `not stated`."""
    family: str
    """`model_type` of its config."""
    parameters: int
    has_chat_template: bool


def import_gguf(file: Path, directory: Path, dtype: str = "float32") -> ImportedModel:
    """Write the model of `file` to `directory` as `dtype` (float32, bfloat16 or float16), whole or not at all.

    Raises:
        ConfigError: the package gguf is not installed, `file` is no GGUF file, `directory` holds something or cannot
            be written, or there is no such `dtype`.
        UnsupportedModel: transformers does not read this architecture, or not all of its weights.
        ArtifactMismatch: what was written does not load again as it was.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype is {dtype!r}; expected one of {', '.join(_DTYPES)}")
    described = _read_metadata(file)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} is there and not an empty folder; choose a name that is free")
    model, tokenizer = _load(file, getattr(torch, dtype))
    partial = directory.absolute().with_name(f".{directory.absolute().name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error}; name a folder in a place of yours") from error
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_earlier_config_keys(partial)
    write_earlier_tokenizer_keys(partial)
    _check_loads_again(partial, model, tokenizer)
    facts = {
        "name": described.get("general.name") or file.stem,
        "licence": described.get("general.license") or "not stated",
        "architecture": described.get("general.architecture", "not stated"),
        "organisation": described.get("general.organization", "not stated"),
        "quantisation": described["quantisation"],
        "parameters": model.num_parameters(),
    }
    note = _NOTE.format(file=file.name, sha256=sha256_of_file(file), dtype=dtype, **facts)
    (partial / "README.md").write_text(note, encoding="utf-8")
    if directory.exists():
        directory.rmdir()
    partial.replace(directory)
    has_template = tokenizer.chat_template is not None
    return ImportedModel(
        str(facts["name"]), str(facts["licence"]), model.config.model_type, model.num_parameters(), has_template
    )


def _read_metadata(file: Path) -> Mapping[str, Any]:
    """The `general.*` fields of a file, and how most of its weights are quantised."""
    if find_spec("gguf") is None:
        raise ConfigError("the package gguf is not installed; install it with `pip install 'cc-tuning[gguf]'`")
    if not file.is_file():
        raise ConfigError(f"{file.absolute()} is not a file; expected a GGUF file")
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            raise ConfigError(f"{file} does not begin with {_MAGIC.decode()}, so it is no GGUF file")
    try:
        reader = import_module("gguf").GGUFReader(file)
        fields = {name: field.contents() for name, field in reader.fields.items() if name.startswith("general.")}
    except (ValueError, IndexError, KeyError) as error:
        raise ConfigError(f"{file} is damaged, or not whole: {error}; download it again") from error
    kinds: dict[str, int] = {}
    for tensor in reader.tensors:
        kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + int(tensor.n_elements)
    shares = sorted(kinds.items(), key=lambda kind: -kind[1])
    return fields | {"quantisation": ", ".join(f"{name} ({n / sum(kinds.values()):.0%})" for name, n in shares)}


def _load(file: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The file's model, free of its quantisation, and its tokenizer."""
    arguments: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with refusing_remote_code(str(file)):
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **arguments)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=dtype, output_loading_info=True, **arguments
            )
    except CcTuningError:
        raise
    except Exception as error:  # tokenizers raise nothing narrower where a merge is of no token
        raise UnsupportedModel(
            f"transformers cannot read {file}: {error}; the file is damaged, or of a kind that it does "
            "not know: download it again, or take the model's own repository"
        ) from error
    read, report = loaded
    if absent := [*report["missing_keys"], *report["mismatched_keys"]]:
        raise UnsupportedModel(
            f"{file} lacks {len(absent)} weights of its architecture, first {absent[0]!r}; take the model's own "
            "repository"
        )
    for key in PLACE_OF_LOADING:
        tokenizer.init_kwargs.pop(key, None)
    config = deepcopy(read.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model.load_state_dict(read.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval(), tokenizer


def _check_loads_again(directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    again = read_base_model(directory, "auto").state_dict()
    differing = [name for name, weight in model.state_dict().items() if not torch.equal(weight, again[name])]
    ids = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)(_PROBE)["input_ids"]
    if differing or ids != tokenizer(_PROBE)["input_ids"]:
        what = f"the weights {differing[:3]}" if differing else "the tokenizer"
        raise ArtifactMismatch(f"{what} in {directory} loaded again with other values than were written")
