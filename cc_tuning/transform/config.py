"""The settings of the stage `transform`: what is fitted, and on which pairs. Part of a run's identity."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MatrixKind = Literal["shared", "per_layer"]
FeatureKind = Literal["layer", "all_layers", "pooled"]
KernelKind = Literal["exact", "landmarks"]
TargetKind = Literal["all", "chosen"]
ChooseBy = Literal["r2", "likelihood"]
Ridge = Annotated[float, Field(ge=0)] | Literal["gcv", "cv"]
"""A penalty relative to the mean of the diagonal of `AᵀA`, or how it is chosen."""

DEFAULT_RIDGE = 1e-6


class MapConfig(BaseModel):
    """The form of a map from a prompt's activations to English ones (Ye et al. 2025, section 3.2.2, and ours)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureKind = Field(
        default="layer",
        description="What the English activation of a layer is predicted from: the prompt's own activation in that "
        "layer (the paper's), its activations of all layers (`all_layers`), or the mean over its tokens up to t* of "
        "the outputs of all decoder layers but the last (`pooled`). The latter two are fitted in the dual and stored "
        "as two factors.",
    )
    rank: int = Field(
        default=128,
        ge=1,
        description="Rank of the two factors of `features: all_layers | pooled`, at most the number of pairs.",
    )
    kernel: KernelKind = Field(
        default="exact",
        description="How `features: all_layers | pooled` are fitted: on the products of all pairs with all, which "
        "takes 64 N² bytes for N pairs, or on those with `landmarks` of them, which takes 48 N times their number "
        "and is the exact fit when they are all pairs.",
    )
    landmarks: int = Field(
        default=1024, ge=1, description="Landmarks of `kernel: landmarks`, the first of the fitted pairs."
    )
    targets: TargetKind = Field(
        default="all",
        description="Which layers of English activations are predicted: all, or those that the Decision Maker chose "
        "for at least one fitted pair (`chosen`); of the others the prediction is their mean. `chosen` needs an "
        "intercept, and a map that has parts by layer: `matrix: per_layer` or `features: all_layers | pooled`.",
    )
    matrix: MatrixKind = Field(
        default="shared",
        description="One W_T for all layers (the paper's), or one per layer, each fitted on the rows of its layer; "
        "it is L times as large (an 8B model: 2 GiB). Only for `features: layer`.",
    )
    intercept: bool | Literal["per_language"] = Field(
        default=False,
        description="Fit B ≈ A W + b instead of B ≈ A W (the paper's); the ridge does not shrink b. `per_language` "
        "fits one b for each language: then the language of a prompt must be known when it is answered, one that had "
        "no pair is refused, and an English prompt is connected with its own activations.",
    )
    ridge: Ridge = Field(
        default=DEFAULT_RIDGE,
        description="Added to the diagonal of AᵀA, relative to its mean; the paper has none (0). `gcv` chooses it by "
        "generalised cross-validation, `cv` by cross-validation over folds that share no English prompt; each for "
        "every matrix by itself.",
    )
    folds: int = Field(default=5, ge=2, description="Folds of `ridge: cv`.")

    @property
    def is_papers(self) -> bool:
        """Whether the map is the paper's: one matrix for all layers, no intercept, the default ridge."""
        return (self.features, self.matrix, self.intercept, self.ridge) == ("layer", "shared", False, DEFAULT_RIDGE)

    @model_validator(mode="after")
    def _numbers_are_used(self) -> Self:
        """A number that the asked map does not have is refused: it would change an identity and nothing else."""
        for name, needed, is_used in (
            ("rank", "features: all_layers or pooled", self.features != "layer"),
            ("kernel", "features: all_layers or pooled", self.features != "layer"),
            ("landmarks", "kernel: landmarks", self.kernel == "landmarks"),
            ("folds", "ridge: cv", self.ridge == "cv"),
        ):
            value = getattr(self, name)
            if value != MapConfig.model_fields[name].default and not is_used:
                raise ValueError(f"transform.{name} is {value}, and only a map with `{needed}` has one; leave it out")
        return self

    @model_validator(mode="after")
    def _forms_fit(self) -> Self:
        if self.features != "layer" and self.matrix == "per_layer":
            raise ValueError(
                f"transform.matrix 'per_layer' with features {self.features!r}: a map from all layers has one pair of "
                "factors for all; leave matrix at 'shared'"
            )
        by_layer = self.matrix == "per_layer" or self.features != "layer"
        if self.targets == "chosen" and not (by_layer and self.intercept):
            raise ValueError(
                f"transform.targets 'chosen' with matrix {self.matrix!r}, features {self.features!r} and intercept "
                f"{self.intercept!r}: layers that are not chosen are predicted by their mean, for which a map needs an "
                "intercept for each layer. Use `matrix: per_layer` or `features: all_layers | pooled`, and an intercept"
            )
        return self


class FitConfig(MapConfig):
    """How the Transform Matrix is fitted (Ye et al. 2025, section 3.2.2)."""

    pairs: int = Field(
        default=1000, ge=1, description="Parallel prompts to sample (paper: M = 1,000; its code ships with 10)."
    )
    held_out_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the sampled pairs that is kept out of the fit and only measured."
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

    @model_validator(mode="after")
    def _sweep_fits(self) -> Self:
        if self.sweep_pairs and (self.features != "layer" or self.ridge == "cv" or self.intercept == "per_language"):
            raise ValueError(
                "transform.sweep_pairs is a curve of nested fits and goes with `features: layer`, a ridge that is a "
                "number or 'gcv', and an intercept that is true or false; leave it out for other maps"
            )
        return self


class TransformConfig(FitConfig):
    """The identity of the stage: how the matrix is fitted, and how good the translations are that it is fitted on."""

    min_quality: float = Field(default=0.0, ge=0, le=1, description="Quality that a pair needs to be sampled; 0: any.")


class ChoiceConfig(BaseModel):
    """Which of several maps is kept, and by what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choose_among: tuple[MapConfig, ...] = Field(
        default=(),
        description="Other maps, each by the keys of a map's form (`features`, `rank`, `kernel`, `landmarks`, "
        "`targets`, `matrix`, `intercept`, `ridge`, `folds`), that are fitted on the same pairs beside the one of this "
        "section and the paper's; the best on held-out pairs is kept. None means that there is no choice.",
    )
    choose_by: ChooseBy = Field(
        default="likelihood",
        description="What the best map of `choose_among` is: the one through which held-out pairs' own responses are "
        "most likely (`likelihood`), in nats a token, or with the largest R² within language and layer (`r2`). Of maps "
        "within one standard error of the best by likelihood the one with the fewest numbers is kept.",
    )

    @model_validator(mode="after")
    def _choice_is_one(self) -> Self:
        if self.choose_by != "likelihood" and not self.choose_among:
            raise ValueError(
                f"transform.choose_by is {self.choose_by!r}, and transform.choose_among has no map; list the maps to "
                "choose among, or leave choose_by out"
            )
        return self


class ChoosingConfig(ChoiceConfig, TransformConfig):
    """The identity of the stage where a map is chosen among several."""

    @model_validator(mode="after")
    def _pairs_are_held_out(self) -> Self:
        if not self.held_out_fraction or self.sweep_pairs:
            raise ValueError(
                f"transform.choose_among with held_out_fraction {self.held_out_fraction} and sweep_pairs "
                f"{list(self.sweep_pairs)}: maps are chosen by held-out pairs, and a curve is of one map; hold some "
                "pairs out and leave sweep_pairs out"
            )
        return self
