"""The recipe: one YAML file that says what to do, with the paper's values as defaults.

Each section adds places (a file, a hub id) to the config that the stage itself declares, so a field is described once,
beside the code that reads it. `miniature` as a place means the embedded default: the small world of
`cc_tuning/miniature` and the tiny models that live in it.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cc_tuning.distillation.config import DistillationConfig
from cc_tuning.evaluation.config import EvaluationConfig
from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig, WorldConfig
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.runtime.execution import Execution
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.training.config import TrainingConfig
from cc_tuning.training.rows.config import MaterializationConfig
from cc_tuning.transform.config import TransformConfig
from cc_tuning.translation.config import TranslationConfig

MINIATURE = "miniature"
METHODS, ADDED_DATA = ("ml-sft", "cc-tuning"), ("", "+en", "+mt", "+sdrrl")
RUNS = tuple(f"{method}{added}" for method in METHODS for added in ADDED_DATA)

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class Section(BaseModel):
    """A part of the recipe: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(SelectionConfig):
    """Which rows to learn from."""

    source: str = Field(
        default="CohereLabs/aya_dataset",
        description="The Aya dataset's hub id, or a parquet, JSON Lines or CSV file with its columns, or `miniature`.",
    )
    revision: str = Field(default="", description="Commit of the hub dataset; needed for a hub id.")
    min_quality: float = Field(
        default=MaterializationConfig.model_fields["min_quality"].default,
        ge=0,
        le=1,
        description="Quality (0 to 1) that a translated pair needs to become a training row; 0 keeps all. A change "
        "translates nothing again.",
    )


class TranslationSection(TranslationConfig):
    """How to give each row its English version."""

    model: str = Field(
        default="facebook/nllb-200-3.3B",
        description="A model of the NLLB or M2M100 family: hub id, directory, or `miniature` (paper: NLLB, "
        "section 4.1).",
    )
    revision: str = Field(default="", description="Commit of the hub model; needed for a hub id.")


class ModelSection(Section):
    """The base model."""

    base: str = Field(description="Hub id, directory, or `miniature`.")
    revision: str = Field(default="", description="Commit of the hub model; needed for a hub id.")


class EvaluationSection(EvaluationConfig):
    """What to measure."""

    items: str = Field(
        default=MINIATURE, description="Directory of parquet files under the BenchmarkItem contract, or `miniature`."
    )


class MiniatureSection(Section):
    """Sizes of the embedded default."""

    world: WorldConfig = Field(default_factory=WorldConfig)
    base_model: BaseModelConfig = Field(default_factory=BaseModelConfig)
    translator: TranslatorConfig = Field(default_factory=TranslatorConfig)


class MaterializationSection(Section):
    """How rows become token ids."""

    chat_template: Literal["llama3", "qwen25", "tokenizer"] = Field(
        default="tokenizer",
        description="`tokenizer` keeps the model's own; base models without one need a shipped one.",
    )
    cutoff_tokens: int = Field(
        default=MaterializationConfig.model_fields["cutoff_tokens"].default,
        ge=8,
        description="Tokens of prompt and response together (paper: 1,024).",
    )
    english_cutoff_tokens: int = Field(
        default=MaterializationConfig.model_fields["english_cutoff_tokens"].default,
        ge=8,
        description="Tokens of the English prompt; its own budget (docs/deviations.md).",
    )


class Recipe(Section):
    """Everything that decides a reproduction, and where it runs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="Folder name of the results.")
    runs: tuple[str, ...] = Field(
        default=("ml-sft", "cc-tuning"), min_length=1, description="Rows of the paper's Table 1 to train and evaluate."
    )
    model: ModelSection
    data: DataSection = Field(default_factory=DataSection)
    translation: TranslationSection = Field(default_factory=TranslationSection)
    materialization: MaterializationSection = Field(default_factory=MaterializationSection)
    distillation: DistillationConfig = Field(default_factory=DistillationConfig)
    connection: ConnectionConfig = Field(default_factory=ConnectionConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    transform: TransformConfig = Field(default_factory=TransformConfig)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    miniature: MiniatureSection = Field(default_factory=MiniatureSection)
    execution: Execution = Field(default_factory=Execution)

    @field_validator("runs")
    @classmethod
    def _runs_are_known(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        for run in runs:
            if run not in RUNS:
                raise ValueError(f"unknown run {run}; known: {', '.join(RUNS)}")
        if len(set(runs)) != len(runs):
            raise ValueError("a run stands twice")
        return runs

    @model_validator(mode="after")
    def _decision_maker_has_a_rate_where_there_is_one(self) -> "Recipe":
        rate, selector = self.training.decision_maker_learning_rate, self.connection.selector
        if rate is not None and selector != "decision_maker":
            raise ValueError(
                f"training.decision_maker_learning_rate is {rate}, but connection.selector is {selector!r}, which has "
                "no weight to train; leave the rate out"
            )
        return self

    @model_validator(mode="after")
    def _hub_ids_are_pinned(self) -> "Recipe":
        places = {
            "data.revision": (self.data.source, self.data.revision),
            "translation.revision": (self.translation.model, self.translation.revision),
            "model.revision": (self.model.base, self.model.revision),
        }
        for key, (place, revision) in places.items():
            if is_hub_id(place) and not revision:
                raise ValueError(f"{key} is missing: pin the commit of {place}, so that the result can be repeated")
        return self


def added_data(run: str) -> str:
    """What a run adds to the pairs: `en`, `mt`, `sdrrl`, or nothing."""
    return run.partition("+")[2]


def is_hub_id(place: str) -> bool:
    """Whether a place is `owner/name` on the hub rather than a path or the embedded default."""
    looks_like_path = place.startswith((".", "/", "~")) or place.endswith((".parquet", ".jsonl", ".json", ".csv"))
    return place.count("/") == 1 and not looks_like_path and not Path(place).exists()


def identity_of(section: BaseModel, config: type[ConfigT], **more: Any) -> ConfigT:
    """The stage's own config out of a recipe section: what is identity, without the places."""
    values = {name: getattr(section, name) for name in config.model_fields if hasattr(section, name)}
    return config(**{**values, **more})
