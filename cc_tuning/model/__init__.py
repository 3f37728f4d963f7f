"""The cross-lingual connection around a language model: training, inference and checkpoints.

A name is imported when it is asked for (PEP 562): a recipe needs `cc_tuning.model.config` only, and importing that runs
this file, which must therefore not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc_tuning.model.checkpoint import has_connection
    from cc_tuning.model.config import ConnectionConfig, ConnectionMode, Selector
    from cc_tuning.model.connected_pass import CrossLingualOutput
    from cc_tuning.model.connection import CrossLingualModel, load_checkpoint
    from cc_tuning.model.generation import Generation

_MODULES = {
    "ConnectionConfig": "config",
    "ConnectionMode": "config",
    "CrossLingualModel": "connection",
    "CrossLingualOutput": "connected_pass",
    "Generation": "generation",
    "Selector": "config",
    "has_connection": "checkpoint",
    "load_checkpoint": "connection",
}

__all__ = [
    "ConnectionConfig",
    "ConnectionMode",
    "CrossLingualModel",
    "CrossLingualOutput",
    "Generation",
    "Selector",
    "has_connection",
    "load_checkpoint",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
