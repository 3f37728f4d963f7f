"""Sizes of the embedded default: its world, its base model, its translator."""

from pydantic import BaseModel, ConfigDict, Field


class WorldConfig(BaseModel):
    """Sizes of the world's files. Countries are the tables'; people are invented."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="Decides who has which fact, what is test, and what is drawn.")
    people: int = Field(default=240, ge=8, le=2_000, description="People whose facts the base model is told.")
    instruction_rows: int = Field(default=1_000, ge=1, description="Instruction rows, before equal ones are merged.")
    english_share: float = Field(default=0.3, ge=0, le=1, description="Share of English among the instruction rows.")
    items: int = Field(default=30, ge=1, description="Items per benchmark and language.")
    summary_items: int = Field(default=10, ge=1, description="Items per language of XLSum.")
    pairs_per_language: int = Field(default=4_000, ge=1, description="Sentence pairs of each language with English.")
    exercises: int = Field(default=1_600, ge=0, description="English exercises in the base model's text.")
    exercises_elsewhere: int = Field(
        default=1_000, ge=0, description="Exercises in the other languages together, about facts told there."
    )
    glossaries: int = Field(default=4, ge=0, description="Times that each name and word is told in another language.")
    retellings: int = Field(default=60, ge=0, description="English texts with sentences told twice, likewise.")
    tellings: int = Field(
        default=16,
        ge=1,
        description="Texts and quizzes of each subject in English; elsewhere a third as many texts.",
    )
    asked: int = Field(
        default=2,
        ge=0,
        description="Times that each fact is asked for in English, as a conversation of the base model.",
    )


class BaseModelConfig(BaseModel):
    """Sizes of the tiny Llama, and how long it reads. Untouched, they stand for the one that comes with the package."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="Decides the first weights and the order of the text.")
    vocabulary_size: int = Field(default=3_584, ge=300, description="Entries of the tokenizer.")
    extra_vocabulary_size: int = Field(
        default=4_608, ge=0, description="Entries more when a recipe brings its own rows or items, in any script."
    )
    hidden_size: int = Field(default=96, ge=8, description="D; a multiple of `heads`.")
    layers: int = Field(default=4, ge=2, description="L; decoder layers.")
    heads: int = Field(default=4, ge=1, description="Attention heads.")
    intermediate_size: int = Field(default=288, ge=8, description="Width of the feed-forward blocks.")
    positions: int = Field(default=16_384, ge=64, description="Tokens the model accepts; real prompts are long.")
    steps: int = Field(default=1_800, ge=1, description="Training steps, where no shipped model is taken.")
    practice_steps: int = Field(
        default=0, ge=0, description="Steps after these, at lower rates, on conversations and an eighth of the texts."
    )
    batch_tokens: int = Field(default=768, ge=8, description="Tokens per step, padding included.")
    longest_document: int = Field(default=256, ge=8, description="Tokens; a longer text is read in pieces.")


class TranslatorConfig(BaseModel):
    """Sizes of the tiny translator, and how long it learns; untouched, they stand for the one of the package."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="Decides the first weights, the held-out pairs and the order.")
    vocabulary_size: int = Field(default=4_096, ge=300, description="Entries of the tokenizer, without language codes.")
    extra_vocabulary_size: int = Field(
        default=4_608, ge=0, description="Entries more when a recipe brings its own rows, in any script."
    )
    hidden_size: int = Field(default=128, ge=8, description="Width; a multiple of `heads`.")
    layers: int = Field(default=2, ge=1, description="Layers of the encoder, and of the decoder.")
    heads: int = Field(default=4, ge=1, description="Attention heads.")
    intermediate_size: int = Field(default=256, ge=8, description="Width of the feed-forward blocks.")
    steps: int = Field(default=350, ge=1, description="Training steps, where no shipped model is taken.")
    batch_tokens: int = Field(default=1_024, ge=8, description="Tokens per step, padding included.")
    both_ways: bool = Field(
        default=False,
        description="Learn to translate from English too, in twice as many steps; a recipe with a +sdrrl run needs it "
        "and sets it.",
    )
    reads_prompts: bool = Field(
        default=False,
        description="Whether prompts of benchmark items are translated too; a recipe with a pivot sets it. Without, "
        "and with rows that all bring their English, there is nothing to translate, and it is not trained.",
    )
    held_out_pairs: int = Field(default=100, ge=1, description="Pairs kept from training to measure by.")
