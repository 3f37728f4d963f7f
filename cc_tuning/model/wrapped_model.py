"""A module around a causal language model, with what the Trainer and Hugging Face tools ask a model for.

The Trainer writes the state dict of a module that is not a `PreTrainedModel` as it is, and safetensors refuses two
names for one storage. So a tied weight is written once, under the name it is tied to, and loading does not ask for
the other name.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from cc_tuning.errors import ConfigError


class WrappedModel(nn.Module):
    """A causal language model, `base`, as a part of a larger module that is trained in its place."""

    # Read by the Trainer when a resumed checkpoint lacks weights.
    _keys_to_ignore_on_save: Sequence[str] | None = None

    def __init__(self, base: PreTrainedModel) -> None:
        super().__init__()
        self.base = base
        keep_once_in_state_dict(self, base, "base.")

    @property
    def config(self) -> PretrainedConfig:
        """The configuration of the base model."""
        return self.base.config

    @property
    def generation_config(self) -> GenerationConfig:
        """The generation configuration of the base model."""
        return self.base.generation_config

    @property
    def loss_type(self) -> str:
        """The base model's loss by its name in transformers; tells the Trainer how target tokens are counted."""
        return self.base.loss_type

    @property
    def _no_split_modules(self) -> Collection[str] | None:
        """Class names of the decoder layers; tells FSDP what to shard by itself."""
        return self.base._no_split_modules

    @property
    def device(self) -> torch.device:
        """Where the base model is."""
        return self.base.device

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **arguments: Any
    ) -> None:
        """Recompute decoder layers in the backward pass, in the non-reentrant way only.

        Raises:
            ConfigError: re-entrant checkpointing was asked for. It recomputes outside of autograd's view, where
                a hook's gradient can be wrong without an error.
        """
        settings = {"use_reentrant": False} | (activation_checkpointing_kwargs or {})
        if settings["use_reentrant"]:
            raise ConfigError(
                "got use_reentrant=True for a model with a cross-lingual connection, expected non-reentrant "
                "checkpointing; leave activation_checkpointing_kwargs out"
            )
        self.base.activation_checkpointing_enable(activation_checkpointing_kwargs=settings, **arguments)


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
