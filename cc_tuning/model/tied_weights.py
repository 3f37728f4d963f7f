"""State dicts of a module around a model with tied embeddings.

The Trainer writes the state dict of a module that is not a `PreTrainedModel` as it is, and safetensors refuses two
names for one storage. So a tied weight is written once, under the name it is tied to, and loading does not ask for
the other name.
"""

from typing import Any

from torch import nn
from transformers import PreTrainedModel


def tied_names(base: PreTrainedModel) -> tuple[str, ...]:
    """State-dict names of `base` that share another name's parameter, that one not included."""
    first_name: dict[int, str] = {}
    kept = set(base.all_tied_weights_keys.values())
    parameters = dict(base.named_parameters(remove_duplicate=False))
    for name in sorted(parameters, key=lambda name: name not in kept):
        first_name.setdefault(id(parameters[name]), name)
    return tuple(name for name in parameters if first_name[id(parameters[name])] != name)


def keep_once_in_state_dict(module: nn.Module, base: PreTrainedModel, prefix: str) -> None:
    """Leave the tied duplicates of `base` out of the state dicts of `module`, in which it is named by `prefix`."""
    duplicates = [prefix + name for name in tied_names(base)]

    def drop(owner: nn.Module, state: dict[str, Any], at: str, metadata: dict[str, Any]) -> None:
        for name in duplicates:
            state.pop(at + name, None)

    def forgive(owner: nn.Module, incompatible: Any) -> None:
        missing: list[str] = incompatible.missing_keys
        missing[:] = [name for name in missing if not any(name.endswith(tied) for tied in duplicates)]

    if duplicates:
        module.register_state_dict_post_hook(drop)
        module.register_load_state_dict_post_hook(forgive)
