"""Which answers are judged against a baseline's, by whom, and what a judge is told."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cc_tuning.evaluation.benchmarks import BENCHMARKS

JudgeKind = Literal["none", "rule", "openai"]


class JudgeConfig(BaseModel):
    """Who compares a run's answers with those of its baseline (Lee et al. 2025, appendix C)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: JudgeKind = Field(
        default="none",
        description="`none`; `openai`, a model behind an address that speaks OpenAI's chat completions "
        "(`execution.judge_address`: a service, or vLLM of your own); `rule`, a fixed rule that needs no model: an "
        "answer that is not empty, then one in the language asked for, then one that holds a reference answer.",
    )
    model: str = Field(
        default="", description="What the address calls the judging model (paper: gpt-4o-2024-08-06); of `openai`."
    )
    benchmarks: tuple[str, ...] = Field(
        default=("AlpacaEval",), min_length=1, description="Whose answers are judged: benchmarks that are generated."
    )
    language_clause: bool = Field(
        default=True,
        description="Tell the judge to count an answer in another language than the instruction's against it; English "
        "instructions are judged without (paper, appendix C).",
    )
    temperature: float = Field(default=0.0, ge=0, description="Of the judging model.")
    max_tokens: int = Field(default=64, ge=8, description="Tokens of a verdict.")

    @field_validator("benchmarks")
    @classmethod
    def _benchmarks_are_written(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        written = [name for name, row in BENCHMARKS.items() if row.request == "generate"]
        if unknown := sorted(set(names) - set(written)):
            raise ValueError(f"a judge cannot compare answers to {unknown}; those that are written: {written}")
        return tuple(sorted(set(names)))

    @model_validator(mode="after")
    def _model_has_a_name(self) -> "JudgeConfig":
        if self.kind == "openai" and not self.model:
            raise ValueError("judge.kind is openai, and judge.model is empty; name the judging model")
        return self


class RunJudging(BaseModel):
    """The identity of the stage `judge`: the names stand in every row it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(min_length=1)
    baseline: str = Field(min_length=1)
    judge: JudgeConfig
