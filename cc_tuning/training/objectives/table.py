"""The objectives by name, each declared once and imported when a run starts: a plan needs no torch.

One more objective is a file beside this one, its name and its row here.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from cc_tuning.training.objectives.config import PreferenceConfig

if TYPE_CHECKING:
    from cc_tuning.training.objectives.base import Objective

ObjectiveName = Literal["sft", "sft-attention", "sft-eng", "sft-tgt", "sft-both", "clo", "clo-all", "dpo", "cc-distil"]
Trained = Literal["all weights", "attention"]
REFERENCE = "reference"
"""The name of the input with what a reference model says of the rows."""


class ObjectiveEntry(NamedTuple):
    """A row of the table: what the objective is, the `package.module:Class` that computes it, and what it asks for."""

    sentence: str
    place: str
    trained: Trained = "all weights"
    """The base model's weights that have a gradient. A connection's Decision Maker always trains."""
    needs_validation: bool = False
    """Its method keeps the checkpoint with the lowest validation loss; a recipe that holds out no rows is refused."""
    is_of_pairs: bool = False
    """Its rows are those of the data setting `preference`: a prompt and its response in two languages."""
    reads: tuple[str, ...] = ()
    """Keys of the section `preference`. An objective that reads some is held against a reference model."""

    distils: bool = False
    """It teaches the model without a connection what it says with one, by `training.distil_weight`; a run of it is
    connected."""

    @property
    def passes(self) -> int:
        """How often a training sequence goes through the model, each time with its gradient."""
        return 2 if self.distils else 1

    @property
    def needs_reference(self) -> bool:
        """Whether it is given what a reference model says of its rows."""
        return bool(self.reads)


_PAIR_SFT = "cc_tuning.training.objectives.pair_sft"
_CLO = "cc_tuning.training.objectives.clo:CrossLingualOptimization"
_CLO_KEYS = ("beta", "sft_weight", "sft_on")

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
        "sft-eng": ObjectiveEntry(
            "as `sft`, on the English sides of preference rows", f"{_PAIR_SFT}:EnglishFineTuning", is_of_pairs=True
        ),
        "sft-tgt": ObjectiveEntry(
            "as `sft`, on their sides in the target language", f"{_PAIR_SFT}:TargetFineTuning", is_of_pairs=True
        ),
        "sft-both": ObjectiveEntry("as `sft`, on both sides", f"{_PAIR_SFT}:BothFineTuning", is_of_pairs=True),
        "clo": ObjectiveEntry(
            "fine-tuning on the target language beside a preference for the prompt's language, of which the attention "
            "blocks alone learn (Lee et al. 2025, eq. 3 to 7)",
            _CLO,
            trained="attention",
            needs_validation=True,
            is_of_pairs=True,
            reads=_CLO_KEYS,
        ),
        "clo-all": ObjectiveEntry(
            "the same, all weights", _CLO, needs_validation=True, is_of_pairs=True, reads=_CLO_KEYS
        ),
        "dpo": ObjectiveEntry(
            "the same preference alone, each language by itself (Rafailov et al. 2023, eq. 7)",
            "cc_tuning.training.objectives.dpo:DirectPreferenceOptimization",
            needs_validation=True,
            is_of_pairs=True,
            reads=("beta",),
        ),
        "cc-distil": ObjectiveEntry(
            "as `sft` with the connection, and beside it the divergence of what the model says without the connection "
            "from what it says with it, so that at inference nothing English is needed",
            "cc_tuning.training.objectives.distil:ConnectionDistillation",
            distils=True,
        ),
    }
)


def load_objective(
    name: ObjectiveName, preference: PreferenceConfig | None = None, distil_weight: float = 1.0
) -> "Objective":
    """The objective of a name in the table; `preference` are the settings of one that reads some, `distil_weight` is
    for one that distils."""
    entry = OBJECTIVES[name]
    module, _, kind = entry.place.partition(":")
    settings: tuple[object, ...] = (preference or PreferenceConfig(),) if entry.reads else ()
    if entry.distils:
        settings = (distil_weight,)
    objective: Objective = getattr(import_module(module), kind)(*settings)
    return objective
