"""Reports of made-up artifacts."""

from typing import Any

import pytest
from built_report import BuildReport, Built, recipe_of
from report_artifacts import World, made_world

from cc_tuning.execution import Execution
from cc_tuning.progress import no_progress
from cc_tuning.report.stage import report_step
from cc_tuning.step import run_step
from data_contracts.store import ArtifactStore


@pytest.fixture(scope="session")
def build_report(tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    """`build_report(world, without=("transform",), **recipe changes)`: inputs whose name starts so are left out."""

    def build(world: World, without: tuple[str, ...] = (), **changes: Any) -> Built:
        store = ArtifactStore(tmp_path_factory.mktemp("store"))
        inputs = {name: ref for name, ref in made_world(store, world).items() if not name.startswith(without or "-")}
        outcome = run_step(report_step(recipe_of(world, **changes), inputs), store, Execution(), no_progress)
        return Built(store.folder(outcome.ref), world, store, inputs)

    return build


@pytest.fixture(scope="session")
def built(build_report: BuildReport) -> Built:
    """The report of the usual two runs."""
    return build_report(World())
