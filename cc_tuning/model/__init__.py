"""The cross-lingual connection around a language model: training, inference and checkpoints."""

from cc_tuning.model.checkpoint import has_connection
from cc_tuning.model.config import ConnectionConfig, ConnectionMode, Selector
from cc_tuning.model.connected_pass import CrossLingualOutput
from cc_tuning.model.connection import CrossLingualModel, load_checkpoint
from cc_tuning.model.generation import Generation

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
