"""The settings that decide the training rows, beside the pairs and the tokenizer."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.text.chat_templates import ChatTemplate

Setting = Literal["plain", "en", "mt", "sdrrl", "preference"]


class RenderingConfig(BaseModel):
    """How rows become token ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chat_template: ChatTemplate = Field(
        default="tokenizer",
        description="`tokenizer` keeps the model's own; base models without one need a shipped one.",
    )
    cutoff_tokens: int = Field(
        default=1024, ge=8, description="Tokens of prompt and response together (paper, Appendix A.1: 1,024)."
    )
    english_cutoff_tokens: int = Field(
        default=1024, ge=8, description="Tokens of the English prompt; its own budget (docs/deviations.md)."
    )


class MaterializationConfig(RenderingConfig):
    """Which rows are made of the pairs, and how they are rendered and cut."""

    setting: Setting = Field(
        default="plain",
        description="Rows beside the pairs themselves: none, the English versions, translation tasks, or those of "
        "self-distillation; `preference` makes rows of another kind, both languages of a pair in one.",
    )
    min_quality: float = Field(
        default=0.0, ge=0, le=1, description="Quality that a translated pair needs to be used; 0 keeps all."
    )
    offset: int = Field(default=0, ge=0, description="The connection position, in tokens before the prompt's last.")
