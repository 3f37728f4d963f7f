"""What is measured, and how: the choices of the stage `evaluate`. Part of a run's identity."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.benchmarks import BENCHMARKS, PAPER_BENCHMARKS
from cc_tuning.evaluation.statistics.bootstrap import CONFIDENCE, SAMPLES
from cc_tuning.inference.engines import ENGINES, EngineName, RequestKind
from cc_tuning.text.chat_templates import ChatTemplate
from cc_tuning.translation.config import TranslationConfig

Control = Literal["constant", "other", "identity"]
"""The connections that carry no content of an item's English prompt."""
_CONTROLS: tuple[Control, ...] = ("constant", "other")
Competitor = Literal["context", "pivot", "pivot_context"]
"""Other ways to bring the English version to a prompt: as text before it (`context`); through the connection, made by a
translator (`pivot`); as text, made by a translator (`pivot_context`)."""
NEED_PIVOT: frozenset[Competitor] = frozenset({"pivot", "pivot_context"})
"""The competitors that read what the stage `pivot` makes."""


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
    max_new_tokens: int = Field(default=40, ge=1, description="Tokens of an answer (paper: 40).")
    instruction_max_new_tokens: int = Field(
        default=512, ge=1, description="Tokens of an answer to an instruction (AlpacaEval), which has no short one."
    )
    sampled: bool = Field(
        default=False,
        description="Draw the tokens of every answer; otherwise the most likely one is taken (greedy, the first "
        "paper's) but for answers to instructions, which are always drawn (Lee et al. 2025, appendix B).",
    )
    temperature: float = Field(default=0.6, gt=0, description="Of drawn answers (Lee et al. 2025: 0.6).")
    top_p: float = Field(
        default=0.9, gt=0, le=1, description="Drawn are the most likely tokens with this share (Lee et al. 2025: 0.9)."
    )
    tries: int = Field(
        default=1,
        ge=1,
        description="Answers that are drawn until one of the options can be read out of one; the last one counts then, "
        "and as wrong (Lee et al. 2025, appendix D: 3). Every try after the first is drawn.",
    )
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
    competitors: tuple[Competitor, ...] = Field(
        default=(),
        description="Other ways to bring the English version to a prompt, by answers and by likelihood: `context`, the "
        "item's own English prompt as text before the prompt, with the connection off; `pivot`, in connected runs, "
        "`parallel` with an English prompt that the recipe's translator makes of the prompt; `pivot_context`, that one "
        "as text before the prompt. The first is a reference, as `parallel` is; the others need no English.",
    )
    bootstrap_samples: int = Field(default=SAMPLES, ge=1, le=1_000_000, description="Resamples behind each interval.")
    confidence: float = Field(default=CONFIDENCE, gt=0, lt=1, description="Coverage of the intervals.")
    seed: int = Field(
        default=0, ge=0, description="Seed of the resampling, and of whose English prompt the control `other` takes."
    )

    def new_tokens_of(self, benchmark: str) -> int:
        """How many tokens an answer to an item of `benchmark` may have."""
        return self.instruction_max_new_tokens if BENCHMARKS[benchmark].is_instruction else self.max_new_tokens

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

    @field_validator("controls", "competitors")
    @classmethod
    def _names_stand_once(cls, names: tuple[str, ...], checked: ValidationInfo) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a name stands twice in {checked.field_name}: {', '.join(names)}; name each once")
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


class PivotConfig(BaseModel):
    """The identity of the stage `pivot`: whose prompts are translated, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: tuple[str, ...]
    languages: tuple[str, ...]
    items_per_language: int
    translation: TranslationConfig
