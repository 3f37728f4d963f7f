"""What a report says about itself."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ReportConfig(BaseModel):
    """What a report says about itself, and how its differences are bootstrapped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the recipe.")
    runs: tuple[str, ...] = Field(min_length=1, description="The runs, in the order of the tables.")
    base_model: str = Field(description="Hub id or path; the paper's figures are shown beside ours for its models.")
    bootstrap_samples: int = Field(default=10_000, ge=1, description="Resamples, as in the evaluation.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Coverage of the intervals, as in the evaluation.")
    seed: int = Field(default=0, ge=0, description="Seed of the resamples and of the choice of sample items.")
    samples_per_benchmark: int = Field(default=2, ge=0, description="Sample items shown per benchmark.")
    recipe: dict[str, Any] = Field(default_factory=dict, description="The recipe without its execution section.")
