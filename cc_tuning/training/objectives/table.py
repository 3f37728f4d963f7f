"""The objectives by name, each declared once and imported when a run starts: a plan needs no torch.

One more objective is a file beside this one, its name and its row here.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from cc_tuning.training.objectives.base import Objective

ObjectiveName = Literal["sft", "sft-attention"]
Trained = Literal["all weights", "attention"]


class ObjectiveEntry(NamedTuple):
    """A row of the table: what the objective is, the `package.module:Class` that computes it, and what it asks for."""

    sentence: str
    place: str
    trained: Trained = "all weights"
    """The base model's weights that have a gradient. A connection's Decision Maker always trains."""
    needs_validation: bool = False
    """Its method keeps the checkpoint with the lowest validation loss; a recipe that holds out no rows is refused."""


OBJECTIVES: Mapping[ObjectiveName, ObjectiveEntry] = MappingProxyType(
    {
        "sft": ObjectiveEntry(
            "the mean negative log-likelihood of the response (Ye et al. 2025, eq. 1)",
            "cc_tuning.training.objectives.sft:SupervisedFineTuning",
        ),
        "sft-attention": ObjectiveEntry(
            "the same, of which the attention blocks alone learn",
            "cc_tuning.training.objectives.sft:SupervisedFineTuning",
            trained="attention",
        ),
    }
)


def load_objective(name: ObjectiveName) -> "Objective":
    """The objective of a name in the table."""
    module, _, kind = OBJECTIVES[name].place.partition(":")
    objective: Objective = getattr(import_module(module), kind)()
    return objective
