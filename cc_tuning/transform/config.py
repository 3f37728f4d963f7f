"""The settings of the stage `transform`: what is fitted, and on which pairs. Part of a run's identity."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MatrixKind = Literal["shared", "per_layer"]
Ridge = Annotated[float, Field(ge=0)] | Literal["gcv"]
"""A penalty relative to the mean of the diagonal of `AᵀA`, or how it is chosen."""

DEFAULT_RIDGE = 1e-6


class FitConfig(BaseModel):
    """How the Transform Matrix is fitted (Ye et al. 2025, section 3.2.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(
        default=1000, ge=1, description="Parallel prompts to sample (paper: M = 1,000; its code ships with 10)."
    )
    held_out_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the sampled pairs that is kept out of the fit and only measured."
    )
    matrix: MatrixKind = Field(
        default="shared",
        description="One W_T for all layers (the paper's), or one per layer, each fitted on the rows of its layer; "
        "it is L times as large (an 8B model: 2 GiB).",
    )
    intercept: bool = Field(
        default=False,
        description="Fit B ≈ A W + b instead of B ≈ A W (the paper's); the ridge does not shrink b.",
    )
    ridge: Ridge = Field(
        default=DEFAULT_RIDGE,
        description="Added to the diagonal of AᵀA, relative to its mean; the paper has none (0). `gcv` chooses it by "
        "generalised cross-validation, for each matrix by itself.",
    )
    sweep_pairs: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(),
        description="Also fit on the first M of the fitted pairs, for each M listed here, and on all of them: the "
        "curve of the paper's Figure 5 (1, 10, 100, 300, 1000), without running a prompt twice. None means no curve.",
    )
    seed: int = Field(default=0, ge=0, description="Which pairs are sampled and which of them are held out.")

    @field_validator("sweep_pairs")
    @classmethod
    def _sweep_rises(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)):
            raise ValueError(f"got {list(sizes)}, expected numbers of pairs that rise, such as 1, 10, 100, 300, 1000")
        return sizes


class TransformConfig(FitConfig):
    """The identity of the stage: how the matrix is fitted, and how good the translations are that it is fitted on."""

    min_quality: float = Field(default=0.0, ge=0, le=1, description="Quality that a pair needs to be sampled; 0: any.")
