"""A small world, built once for all tests of this folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cc_tuning.miniature.config import WorldConfig
from cc_tuning.miniature.world import build_world
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build

SMALL = WorldConfig(
    people=24,
    instruction_rows=240,
    items=12,
    summary_items=4,
    pairs_per_language=80,
    exercises=60,
    exercises_elsewhere=20,
    glossaries=1,
    retellings=20,
    tellings=1,
)


def make_build(config: BaseModel, inputs: Mapping[str, Path], folder: Path) -> Build[Any]:
    folder.mkdir(parents=True, exist_ok=True)
    locations = {name: Location(str(path)) for name, path in inputs.items()}
    return Build(config, locations, folder, Execution(device="cpu", threads=1), no_progress)


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build_world(make_build(SMALL, {}, folder))
    return folder
