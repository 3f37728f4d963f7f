"""The settings that decide a translation, beside the text and the model."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cc_tuning.text.languages import UnknownLanguage, find_language


class TranslationConfig(BaseModel):
    """How segments are decoded. The paper names NLLB (section 4.1) and no settings; these are this project's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["transformers", "ctranslate2"] = Field(
        default="transformers",
        description="What runs the model; `ctranslate2` is faster, mostly says the same, and needs the extra `ct2`.",
    )
    beams: int = Field(default=4, ge=1, description="Beams; 1 is greedy decoding. NLLB's own evaluation uses 4.")
    length_penalty: float = Field(default=1.0, description="Exponent of the length that a beam's score is divided by.")
    no_repeat_ngram_size: int = Field(
        default=0,
        ge=0,
        description="Tokens of a sequence that may not come twice in one segment; 0 allows every repeat.",
    )
    retry: bool = Field(
        default=True,
        description="Decode a segment whose translation looks wrong once more, with the next two settings; the answer "
        "with the better score is kept.",
    )
    retry_beams: int = Field(default=8, ge=1, description="Beams of the second decoding.")
    retry_no_repeat_ngram_size: int = Field(
        default=3,
        ge=0,
        description="Tokens of a sequence that may not come twice in one segment of the second decoding.",
    )
    max_segment_tokens: int = Field(
        default=256, ge=8, le=1000, description="Source tokens of a segment; a longer sentence is cut."
    )
    max_new_tokens: int = Field(
        default=256,
        ge=1,
        le=1000,
        description="Tokens of a translated segment, with its language token, at most.",
    )
    max_length_ratio: float = Field(
        default=3.0,
        gt=0,
        description="Tokens of the translation per source token, at most (and 16 more), so that loops end early.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="Of weights and arithmetic. In half precision a segment's batch may decide close calls.",
    )


class TargetTranslationConfig(TranslationConfig):
    """Translation the other way: English rows into one language (Lee et al. 2025, section 3.2)."""

    target: str = Field(min_length=1, description="The language that English rows are translated into, as `swh`.")

    @field_validator("target")
    @classmethod
    def _target_is_another_language(cls, code: str) -> str:
        return target_code(code)


def target_code(code: str) -> str:
    """Aya's code of a language to translate into.

    Raises:
        ValueError: the language is not known, or is English, from which is translated.
    """
    try:
        language = find_language(code)
    except UnknownLanguage as error:
        raise ValueError(str(error)) from error
    if language.is_english:
        raise ValueError(f"the target {code!r} is English, the language of the source; name another, or leave it out")
    return language.aya_code
