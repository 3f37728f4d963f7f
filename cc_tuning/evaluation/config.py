"""What is measured, and how: the choices of the stage `evaluate`. Part of a run's identity."""

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.benchmarks import BENCHMARKS, PAPER_BENCHMARKS
from cc_tuning.evaluation.statistics.bootstrap import CONFIDENCE, SAMPLES
from cc_tuning.inference.engines import ENGINES, EngineName
from cc_tuning.text.chat_templates import ChatTemplate


class EvaluationConfig(BaseModel):
    """What is measured and how (Ye et al. 2025, appendix A.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: tuple[str, ...] = Field(
        default=PAPER_BENCHMARKS, min_length=1, description="Which benchmarks; by default the paper's six."
    )
    languages: tuple[str, ...] = Field(default=(), description="ISO 639-1 codes; none means all that the items have.")
    items_per_language: int = Field(
        default=max(BENCHMARKS[name].paper_items for name in PAPER_BENCHMARKS),
        ge=1,
        description="At most this many items per benchmark and language, by id (paper: 100 to 1,511, all of them).",
    )
    engine: EngineName = Field(default="transformers", description="What answers the prompts (cc_tuning/inference).")
    max_new_tokens: int = Field(default=40, ge=1, description="Tokens of a greedy answer (paper: 40).")
    bootstrap_samples: int = Field(default=SAMPLES, ge=1, description="Resamples behind each interval.")
    confidence: float = Field(default=CONFIDENCE, gt=0, lt=1, description="Share of resamples within an interval.")
    seed: int = Field(default=0, ge=0, description="Seed of the resampling.")

    @field_validator("benchmarks")
    @classmethod
    def _benchmarks_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(names) - set(BENCHMARKS)):
            raise ValueError(f"unknown benchmarks {unknown}; known: {', '.join(BENCHMARKS)}")
        if len(set(names)) < len(names):
            raise ValueError(f"a benchmark stands twice in {', '.join(names)}; name each once")
        return names

    @model_validator(mode="after")
    def _engine_answers_every_benchmark(self) -> "EvaluationConfig":
        for name in self.benchmarks:
            try:
                ENGINES[self.engine].check_answers(BENCHMARKS[name].request, f"the benchmark {name}")
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self


class RunEvaluation(BaseModel):
    """The identity of this stage: the run's name stands in every row it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(min_length=1)
    chat_template: ChatTemplate = Field(
        default="tokenizer", description="Of a model that was not tuned here; a run's checkpoint has its own."
    )
    evaluation: EvaluationConfig
