"""The settings that decide the training rows, beside the pairs and the tokenizer."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cc_tuning.text.chat_templates import ChatTemplate

Setting = Literal["plain", "en", "mt", "sdrrl", "preference"]
EnglishText = Literal["none", "context"]
"""What of its English version a training prompt shows as text: nothing, or all of it, before the prompt."""


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
    english: EnglishText = Field(
        default="none",
        description="Whether a prompt that is not English begins with its English version as text (`context`), a blank "
        "line between the two; it counts for `cutoff_tokens`. Not of the setting `preference`.",
    )
    min_quality: float = Field(
        default=0.0, ge=0, le=1, description="Quality that a translated pair needs to be used; 0 keeps all."
    )
    offset: int = Field(default=0, ge=0, description="The connection position, in tokens before the prompt's last.")

    @model_validator(mode="after")
    def _preferences_have_no_context(self) -> Self:
        if self.setting == "preference" and self.english != "none":
            raise ValueError(
                f"english is {self.english!r} with the setting 'preference', whose rows ask what to answer to a prompt "
                "in one language; leave `english` out, or take other rows"
            )
        return self
