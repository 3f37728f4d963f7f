"""The settings that decide the rows of self-distillation, beside the pairs and the models."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cc_tuning.inference.engines import EngineName
from cc_tuning.text.chat_templates import ChatTemplate
from cc_tuning.translation.config import TranslationConfig

ANSWERED = ("distilled", "cross_lingual", "translated_answer", "code_switched")
"""Tasks whose response is the base model's answer."""


def _share(default: float, what: str) -> float:
    description = f"{what}; rows, as a share of all pairs."
    share: float = Field(default=default, ge=0, le=1, description=description)
    return share


class DistillationConfig(BaseModel):
    """Which rows +SDRRL adds, and how the base model answers.

    The shares add up to what a data set of N pairs grows by: 0.2 makes 1.2N rows, the paper's size for Llama 3.1 8B.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="Decides which pairs are drawn, and which words are switched.")
    distilled: float = _share(0.04, "English prompt, the base model's own English answer")
    cross_lingual: float = _share(0.04, "Prompt in the pair's language, the base model's English answer")
    translated_answer: float = _share(0.04, "Prompt in the pair's language, the base model's answer translated into it")
    code_switched: float = _share(
        0.04, "English prompt with words of the pair's language, the base model's English answer"
    )
    partial_translation: float = _share(0.02, "English text and the beginning of its translation, the rest of it")
    completion: float = _share(0.02, "Beginning of a text in the pair's language, the rest of it")
    max_new_tokens: int = Field(default=256, ge=1, description="Tokens of a base model's greedy answer.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16",
        description="Of the base model when it answers. In half precision a prompt's batch may decide close calls.",
    )
    switched_words: float = Field(
        default=0.3, gt=0, le=1, description="Share of a prompt's different words that are switched, at least one."
    )
    shown_part: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of a text that stands in the prompt, in partial translations and completions.",
    )

    @model_validator(mode="after")
    def _some_rows_are_added(self) -> "DistillationConfig":
        if not any(self.shares.values()):
            raise ValueError("every share is 0, so +SDRRL would add no row; raise one, or leave out the +sdrrl runs")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The share of each task, in the order of their rows."""
        return {
            "distilled": self.distilled,
            "cross_lingual": self.cross_lingual,
            "translated_answer": self.translated_answer,
            "code_switched": self.code_switched,
            "partial_translation": self.partial_translation,
            "completion": self.completion,
        }


class DistillConfig(BaseModel):
    """The identity of the stage: its own settings, and those it shares with `translate` and `materialize`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distillation: DistillationConfig
    translation: TranslationConfig
    chat_template: ChatTemplate
    engine: EngineName = "transformers"
    """What answers, as in the evaluation."""
