"""What a report says about itself, and which runs it tells of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ReportedRun(BaseModel):
    """One run of the report; several with one family are its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1, description="As in the inputs (`evaluate/<name>`) and in the column `run` of every score."
    )
    label: str = Field(min_length=1, description="What the page calls its family.")
    family: str = Field(
        min_length=1, description="The recipe's run; runs that differ in the seed only have one family."
    )
    seed: int | None = Field(default=None, ge=0, description="Seed of its training; none where nothing was drawn.")
    baseline: str = Field(default="", description="The family that it is held against; empty for none.")
    method: str = Field(
        default="", description="Of a run that learns pairs of two languages: its kind, such as `CLO`; else empty."
    )
    target: str = Field(default="", description="The language (ISO 639-1) that such a run is moved into.")
    pairs: int = Field(default=0, ge=0, description="How many pairs such a run asks for.")


@dataclass(frozen=True)
class Family:
    """A row of the tables: one run of the recipe, made once or once per seed."""

    name: str
    label: str
    baseline: str
    """Name of the family that it is held against, or empty."""
    runs: tuple[ReportedRun, ...]

    @property
    def seeds(self) -> int:
        """How many runs there are."""
        return len(self.runs)

    def title(self, run: ReportedRun) -> str:
        """What the page calls one of the runs: `CC-Tuning`, or `CC-Tuning (seed 1)` where there are several."""
        return self.label if self.seeds == 1 else f"{self.label} (seed {run.seed})"


class ReportConfig(BaseModel):
    """What a report says about itself, and how its differences are bootstrapped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the recipe.")
    runs: tuple[ReportedRun, ...] = Field(min_length=1, description="The runs, in the order of the tables.")
    base_model: str = Field(description="Hub id or path; the paper's figures are shown beside ours for its models.")
    bootstrap_samples: int = Field(default=10_000, ge=1, description="Resamples, as in the evaluation.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Coverage of the intervals, as in the evaluation.")
    seed: int = Field(default=0, ge=0, description="Seed of the resamples and of the choice of sample items.")
    samples_per_benchmark: int = Field(default=2, ge=0, description="Sample items shown per benchmark.")
    recipe: dict[str, Any] = Field(default_factory=dict, description="The recipe without its execution section.")

    @property
    def families(self) -> tuple[Family, ...]:
        """The runs by family, in the order in which they are first named."""
        return families_of(self.runs)

    @model_validator(mode="after")
    def _runs_make_families(self) -> "ReportConfig":
        names = [run.name for run in self.runs]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a run stands twice: {', '.join(repeated)}")
        labels: dict[str, str] = {}
        families = {family.name: family for family in self.families}
        for family in families.values():
            _check_family(family)
            if family.baseline and (family.baseline not in families or family.baseline == family.name):
                raise ValueError(
                    f"{family.name} is held against {family.baseline}; expected another family of this report: "
                    f"{', '.join(name for name in families if name != family.name)}"
                )
            if labels.setdefault(family.label, family.name) != family.name:
                raise ValueError(f"{labels[family.label]} and {family.name} have one label, {family.label!r}")
        return self


def families_of(runs: Sequence[ReportedRun]) -> tuple[Family, ...]:
    """Runs by family, in the order in which families are first named."""
    by_name: dict[str, list[ReportedRun]] = {}
    for run in runs:
        by_name.setdefault(run.family, []).append(run)
    return tuple(Family(name, of[0].label, of[0].baseline, tuple(of)) for name, of in by_name.items())


def _check_family(family: Family) -> None:
    described = {(run.label, run.baseline) for run in family.runs}
    if len(described) > 1:
        raise ValueError(f"the runs of {family.name} have different labels or baselines: {sorted(described)}")
    seeds = [run.seed for run in family.runs]
    if family.seeds > 1 and (None in seeds or len(set(seeds)) < family.seeds):
        raise ValueError(f"the runs of {family.name} are its seeds, which must differ; got {seeds}")
