"""The recipe: one YAML file that says what to do, with the paper's values as defaults.

A section is the config that a library declares beside the code that reads it, with the places it needs (a file, a hub
id) added; `identities.py` makes each stage's identity of them. `miniature` as a place means the embedded default: the
small world of `cc_tuning/miniature` and the tiny models that live in it.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_serializer, field_validator, model_validator

from cc_tuning.distillation.config import DistillationConfig
from cc_tuning.evaluation.config import EvaluationConfig
from cc_tuning.evaluation.judge.config import JudgeConfig
from cc_tuning.evaluation.sources.config import SamplingConfig
from cc_tuning.miniature.config import BaseModelConfig, TranslatorConfig, WorldConfig
from cc_tuning.model.config import ConnectionConfig
from cc_tuning.pipeline.runs import KNOWN_RUNS, RunSpec, as_written, read_runs
from cc_tuning.runtime.execution import Execution
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.training.config import TrainingConfig
from cc_tuning.training.objectives.config import PreferenceConfig
from cc_tuning.training.rows.config import MaterializationConfig, RenderingConfig
from cc_tuning.transform.config import ChoiceConfig, FitConfig
from cc_tuning.translation.config import TranslationConfig, target_code

MINIATURE = "miniature"
DEVELOPMENT = "miniature/development"
"""As `evaluation.items`: the embedded default's items about development facts, by which one chooses."""
HUB = "hub"
"""As `evaluation.items`: made of the published data sets."""


class Section(BaseModel):
    """A part of the recipe: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(SelectionConfig):
    """Which rows to learn from."""

    source: str = Field(
        default="CohereLabs/aya_dataset",
        description="The Aya dataset's hub id, or a file or folder of rows (parquet, Arrow, JSON Lines, a JSON array, "
        "CSV, text also compressed by gzip, zstd, bzip2 or xz), or `miniature`. "
        "Other columns than Aya's: `data.columns`.",
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
    target: str = Field(
        default="",
        description="Translate the other way: English rows (`data.languages: [eng]`), prompt and response, into this "
        "language, such as `swh` (Lee et al. 2025); unset, rows are translated into English.",
    )

    @field_validator("target")
    @classmethod
    def _target_is_another_language(cls, code: str) -> str:
        return target_code(code) if code else ""


class ModelSection(Section):
    """The base model."""

    base: str = Field(description="Hub id, directory, or `miniature`.")
    revision: str = Field(default="", description="Commit of the hub model; needed for a hub id.")


class TransformSection(ChoiceConfig, FitConfig):
    """How the Transform Matrix is fitted (Ye et al. 2025, section 3.2.2)."""

    min_quality: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Quality that a translated pair needs to be sampled; unset, that of the training rows "
        "(`data.min_quality`).",
    )


class EvaluationSection(SamplingConfig, EvaluationConfig):
    """What to measure."""

    items: str = Field(
        default=MINIATURE,
        description="`hub` makes them of the published data sets (docs/benchmarks.md); otherwise a directory of "
        "parquet files under the BenchmarkItem contract or in the layout of the authors' release; or `miniature`, "
        "about test facts; or `miniature/development`, about those to choose by, with the same training rows.",
    )
    instructions: str = Field(
        default="",
        description="A directory of more items beside them, such as AlpacaEval's instructions in the languages asked "
        "for: parquet files under the BenchmarkItem contract.",
    )


class MiniatureSection(Section):
    """Sizes of the embedded default."""

    world: WorldConfig = Field(default_factory=WorldConfig)
    base_model: BaseModelConfig = Field(default_factory=BaseModelConfig)
    translator: TranslatorConfig = Field(default_factory=TranslatorConfig)


class Recipe(Section):
    """Everything that decides a reproduction, and where it runs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100, description="Folder name of the results.")
    runs: tuple[RunSpec, ...] = Field(
        default=(KNOWN_RUNS["ml-sft"], KNOWN_RUNS["cc-tuning"]),
        min_length=1,
        description="What to train and evaluate: rows of the paper's Table 1 by name, `base`, or runs of your own.",
    )
    seeds: tuple[StrictInt, ...] = Field(
        default=(), description="Each trained run once per seed, which takes `training.seed`'s place; none: once."
    )
    model: ModelSection
    data: DataSection = Field(default_factory=DataSection)
    translation: TranslationSection = Field(default_factory=TranslationSection)
    materialization: RenderingConfig = Field(default_factory=RenderingConfig)
    distillation: DistillationConfig = Field(default_factory=DistillationConfig)
    connection: ConnectionConfig = Field(default_factory=ConnectionConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    preference: PreferenceConfig = Field(default_factory=PreferenceConfig)
    transform: TransformSection = Field(default_factory=TransformSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    judge: JudgeConfig = Field(default_factory=JudgeConfig)
    miniature: MiniatureSection = Field(default_factory=MiniatureSection)
    execution: Execution = Field(default_factory=Execution)

    @field_validator("runs", mode="before")
    @classmethod
    def _read_runs(cls, written: object) -> tuple[RunSpec, ...]:
        return read_runs(written)

    @field_serializer("runs")
    def _write_runs(self, runs: tuple[RunSpec, ...]) -> list[Any]:
        return [as_written(run) for run in runs]

    @model_validator(mode="after")
    def _seeds_are_of_trained_runs(self) -> "Recipe":
        if len(set(self.seeds)) != len(self.seeds) or any(seed < 0 for seed in self.seeds):
            raise ValueError(f"seeds are {list(self.seeds)}; expected different numbers from 0 on")
        if self.seeds and not any(run.is_trained for run in self.runs):
            raise ValueError("seeds are of trained runs, and no run of this recipe is trained; leave them out")
        for run in self.runs:
            if self.seeds and "training.seed" in run.set:
                raise ValueError(f"run {run.name} sets training.seed, and so do `seeds`; leave one of them out")
        return self

    @model_validator(mode="after")
    def _decision_maker_is_asked_where_there_is_one(self) -> "Recipe":
        rate, selector = self.training.decision_maker_learning_rate, self.connection.selector
        if rate is not None and not self.connection.has_own_rate:
            raise ValueError(
                f"training.decision_maker_learning_rate is {rate}, but connection.selector is {selector!r}, which has "
                "no weight to train, and there is no gate; leave the rate out"
            )
        forms = (self.transform, *self.transform.choose_among)
        if any(form.targets == "chosen" for form in forms) and selector != "decision_maker":
            raise ValueError(
                f"transform.targets is 'chosen', but connection.selector is {selector!r}, which chooses no layer by "
                "the prompt; leave it at 'all' where that selector is used"
            )
        return self

    @model_validator(mode="after")
    def _rows_to_translate_from_are_english(self) -> "Recipe":
        if self.translation.target and self.data.languages != ("eng",):
            raise ValueError(
                f"translation.target is {self.translation.target!r}, so English rows are translated; "
                f"data.languages is {list(self.data.languages)}, expected [eng]"
            )
        return self

    @model_validator(mode="after")
    def _hub_ids_are_pinned(self) -> "Recipe":
        places = {
            **{f"run {run.name}: revision": (run.checkpoint, run.revision) for run in self.runs},
            "data.revision": (self.data.source, self.data.revision),
            "translation.revision": (self.translation.model, self.translation.revision),
            "model.revision": (self.model.base, self.model.revision),
        }
        for key, (place, revision) in places.items():
            if is_hub_id(place) and not revision:
                raise ValueError(
                    f"{key} is missing: pin the commit of {place}, so that the result can be repeated; or mend the "
                    "path, if it is one: there is no such file or folder"
                )
        return self


_FILE_ENDINGS = {
    ".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".gz", ".zst", ".bz2", ".xz",
    ".safetensors", ".gguf",
}  # fmt: skip


def is_hub_id(place: str) -> bool:
    """Whether a place is `owner/name` on the hub rather than a path or the embedded default."""
    looks_like_path = place.startswith((".", "/", "~")) or Path(place).suffix in _FILE_ENDINGS
    return place.count("/") == 1 and not looks_like_path and not os.path.exists(place)  # noqa: PTH110  (which takes any text)
