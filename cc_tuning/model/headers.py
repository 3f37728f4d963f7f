"""What is told of a model directory without loading it: whether its weights are those that its config.json describes.

The model is built without memory for its weights, and names and shapes are compared with the headers of the files. So
an 8B model takes seconds.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from cc_tuning.errors import in_one_line
from cc_tuning.model.families import FAMILIES
from cc_tuning.runtime.weight_files import Shape, WeightFiles


def faults_of_weights(weights: WeightFiles, config: PretrainedConfig) -> Iterator[str]:
    """Why `weights` are not those of a causal language model of `config`, each with what to do.

    Weights beyond those of the model are no fault, unless they are layers of a family that has no others: transformers
    would leave them out with a warning.
    """
    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config, attn_implementation="eager", trust_remote_code=False)
    except Exception as error:  # of a file that somebody wrote by hand, transformers and torch raise any
        reason = in_one_line(str(error), 1_000) or type(error).__name__
        yield f"config.json describes no model that can be built: {type(error).__name__}: {reason}; mend it"
        return
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = _as_named(weights.shapes, expected, model.base_model_prefix)
    if beyond := _layers_beyond(found, config):
        yield (
            f"its files have {len(beyond)} layers beyond the {config.num_hidden_layers} of config.json, which would be "
            "left out; mend `num_hidden_layers`, or take both from one model"
        )
    differing = [name for name in expected if name in found and found[name] != expected[name]]
    if differing:
        name = differing[0]
        yield (
            f"{len(differing)} of its weights have another shape than config.json says, the first {name}: "
            f"{list(found[name])}, expected {list(expected[name])}; take both from one model"
        )
    absent = [name for name in expected if name not in found and name not in model.all_tied_weights_keys]
    is_renamed = get_checkpoint_conversion_mapping(config.model_type) is not None  # then files have names of their own
    if absent and not is_renamed:
        yield (
            f"{len(absent)} of the {len(expected)} weights that config.json describes are in no file, the first "
            f"{absent[0]}; fetch the files again, or mend config.json"
        )


def _layers_beyond(names: Iterable[str], config: PretrainedConfig) -> set[int]:
    """The numbers of layers that only the files have, of a family in the table."""
    if config.model_type not in FAMILIES:
        return set()
    family = FAMILIES[config.model_type]
    form = re.compile(rf"{family.decoder}\.{family.layers}\.(\d+)\.")
    numbers = {int(match[1]) for name in names if (match := form.match(name))}
    return {number for number in numbers if number >= config.num_hidden_layers}


def _as_named(shapes: Mapping[str, Shape], expected: Mapping[str, Shape], prefix: str) -> dict[str, Shape]:
    """`shapes` by the names of the causal model; files of a bare decoder have names without its prefix."""
    bare = {name for name in shapes if f"{prefix}.{name}" in expected}
    return {f"{prefix}.{name}" if name in bare else name: shape for name, shape in shapes.items()}
