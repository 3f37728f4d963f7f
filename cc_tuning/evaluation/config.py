"""What is measured, and how: the choices of the stage `evaluate`. Part of a run's identity."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.benchmarks import BENCHMARKS, PAPER_BENCHMARKS
from cc_tuning.evaluation.statistics.bootstrap import CONFIDENCE, SAMPLES
from cc_tuning.inference.engines import ENGINES, EngineName, RequestKind
from cc_tuning.text.chat_templates import ChatTemplate

Control = Literal["constant", "other", "identity"]
"""The connections that carry no content of an item's English prompt."""
_CONTROLS: tuple[Control, ...] = ("constant", "other")


class EvaluationConfig(BaseModel):
    """What is measured and how (Ye et al. 2025, appendix A.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: tuple[str, ...] = Field(
        default=PAPER_BENCHMARKS, min_length=1, description="Which benchmarks; by default the paper's six."
    )
    languages: tuple[str, ...] = Field(
        default=(),
        description="ISO 639-1 codes; none means all that the items have: of `items: hub` the paper's ten of each "
        "benchmark, or all with prompts of one that the paper does not have.",
    )
    items_per_language: int = Field(
        default=max(BENCHMARKS[name].paper_items for name in PAPER_BENCHMARKS),
        ge=1,
        description="At most this many items per benchmark and language, by id (paper: 100 to 1,511, all of them).",
    )
    engine: EngineName = Field(default="transformers", description="What answers the prompts (cc_tuning/inference).")
    max_new_tokens: int = Field(default=40, ge=1, description="Tokens of a greedy answer (paper: 40).")
    likelihoods: bool = Field(
        default=True,
        description="Whether each run also tells, in each connection, how likely it finds the gold answer and every "
        "option. About one pass a prompt, for measures that move with every item.",
    )
    controls: tuple[Control, ...] = Field(
        default=_CONTROLS,
        description="Connections that tell content from bias, by likelihood only, in connected runs: `constant`, the "
        "mean of what the items' English prompts add; `other`, another item's English prompt; `identity`, the prompt's "
        "own activations as if they were English. None without `likelihoods`.",
    )
    bootstrap_samples: int = Field(default=SAMPLES, ge=1, le=1_000_000, description="Resamples behind each interval.")
    confidence: float = Field(default=CONFIDENCE, gt=0, lt=1, description="Coverage of the intervals.")
    seed: int = Field(
        default=0, ge=0, description="Seed of the resampling, and of whose English prompt the control `other` takes."
    )

    @model_validator(mode="before")
    @classmethod
    def _controls_are_likelihoods(cls, values: Any) -> Any:
        """Without likelihoods there are no controls; the default ones are dropped, others are refused."""
        if not isinstance(values, dict) or values.get("likelihoods", True) is not False:
            return values
        asked = tuple(values.get("controls", ()))
        if asked not in ((), _CONTROLS):
            raise ValueError(
                f"controls are measured by likelihood only: {', '.join(map(str, asked))} asked for, and likelihoods is "
                "false; leave one of the two out"
            )
        return values | {"controls": ()}

    @field_validator("controls")
    @classmethod
    def _controls_stand_once(cls, names: tuple[Control, ...]) -> tuple[Control, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a control stands twice in {', '.join(names)}; name each once")
        return names

    @field_validator("benchmarks")
    @classmethod
    def _benchmarks_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(names) - set(BENCHMARKS)):
            raise ValueError(f"unknown benchmarks {unknown}; known: {', '.join(BENCHMARKS)}")
        if len(set(names)) < len(names):
            raise ValueError(f"a benchmark stands twice in {', '.join(names)}; name each once")
        return names

    @model_validator(mode="after")
    def _engine_answers_what_is_asked(self) -> "EvaluationConfig":
        asked: dict[str, RequestKind] = {f"the benchmark {name}": BENCHMARKS[name].request for name in self.benchmarks}
        if self.likelihoods:
            asked["evaluation.likelihoods"] = "loglikelihood"
        for asked_by, kind in asked.items():
            try:
                ENGINES[self.engine].check_answers(kind, asked_by)
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
