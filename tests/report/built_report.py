"""A report built through the store, as in a real run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.store import ArtifactRef, ArtifactStore
from tests.report.report_artifacts import World


@dataclass(frozen=True)
class Built:
    """A finished report and the world it tells of."""

    folder: Path
    world: World
    store: ArtifactStore
    inputs: dict[str, ArtifactRef]

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


BuildReport = Callable[..., Built]


def recipe_of(world: World, **changes: Any) -> dict[str, Any]:
    """The part of a recipe that a report needs."""
    evaluation = {"bootstrap_samples": 200, "confidence": 0.95, "seed": 0}
    recipe = {
        "name": "made-up",
        "runs": [run.name for run in world.runs],
        "model": {"base": "miniature"},
        "evaluation": evaluation,
    }
    return recipe | changes
