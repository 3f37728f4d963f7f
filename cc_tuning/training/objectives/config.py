"""The settings of objectives that prefer one response to another.

They are a section of their own beside `training`: a run of fine-tuning reads none of them, and one that reads `beta`
alone (DPO) is not trained again when the weight of fine-tuning changes. `ObjectiveEntry.reads` says who reads what.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PreferenceConfig(BaseModel):
    """How strongly a response is preferred; the defaults are those of Lee et al. 2025 (Appendix B)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: float = Field(
        default=0.1,
        gt=0,
        description="Scale of the margins between two responses: how far the model may leave its reference (`clo`, "
        "`dpo`).",
    )
    sft_weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The lambda of CLO: the weight of fine-tuning; that of the preference is 1 less it (`clo`).",
    )
    sft_on: Literal["target", "both"] = Field(
        default="target",
        description="Responses that CLO is fine-tuned on: those in the target language, or the English ones too, which "
        "draws the model to English (Lee et al. 2025, Table 5).",
    )


class ReferenceConfig(BaseModel):
    """Identity of the stage `reference`: how the reference model is asked. No recipe changes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["transformers"] = Field(default="transformers", description="What computes the passes.")
    dtype: Literal["float32"] = Field(
        default="float32", description="Of weights and passes: a margin is a difference of sums over many tokens."
    )
