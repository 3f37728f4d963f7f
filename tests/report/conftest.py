"""Reports of made-up artifacts."""

from typing import Any

import pytest

from cc_tuning.report.config import ReportConfig
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.stage_table import REPORT
from cc_tuning.runtime.step import run_step
from data_contracts.store import ArtifactStore
from tests.report.built_report import BuildReport, Built, recipe_of
from tests.report.report_artifacts import World, made_world


def config_of(world: World, recipe: dict[str, Any]) -> ReportConfig:
    return ReportConfig(
        name=recipe["name"],
        runs=tuple(world.runs),
        base_model=recipe["model"]["base"],
        **{name: recipe["evaluation"][name] for name in ("bootstrap_samples", "confidence", "seed")},
        recipe=recipe,
    )


@pytest.fixture(scope="session")
def build_report(tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    """`build_report(world, without=("transform",), **recipe changes)`: inputs whose name starts so are left out."""

    def build(world: World, without: tuple[str, ...] = (), **changes: Any) -> Built:
        store = ArtifactStore(tmp_path_factory.mktemp("store"))
        inputs = {name: ref for name, ref in made_world(store, world).items() if not name.startswith(without or "-")}
        outcome = run_step(
            REPORT.step(config_of(world, recipe_of(world, **changes)), **inputs), store, Execution(), no_progress
        )
        return Built(store.folder(outcome.ref), world, store, inputs)

    return build


@pytest.fixture(scope="session")
def built(build_report: BuildReport) -> Built:
    """The report of the usual two runs."""
    return build_report(World())
