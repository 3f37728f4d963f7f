"""A single flipped bit anywhere in a finished store is found, and exactly its stage and what rests on it is made again.

`CC_TUNING_FLIPS` names another number of flips, `CC_TUNING_FLIP_STORE` a folder with a finished store of smallest.yaml.
Each flip is followed by a run of all steps. A step that is made again copies its files as they were made the first
time, so that a thousand runs take minutes; a few of the last stages are computed.
"""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import Build, Step, run_step
from data_contracts.artifact_files import objects_below
from data_contracts.errors import ArtifactMismatch
from data_contracts.manifest import RowCounts
from data_contracts.store import ArtifactRef, ArtifactStore

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = ROOT / "tests" / "flows" / "smallest.yaml"
FLIPS = int(os.environ.get("CC_TUNING_FLIPS", "60"))
COMPUTED = FLIPS // 40
SEED = 20_261_127

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A finished store of the smallest recipe, which no test writes to."""
    if given := os.environ.get("CC_TUNING_FLIP_STORE"):
        return ArtifactStore(Path(given))
    folder = tmp_path_factory.mktemp("finished")
    places = ["--set", f"execution.store={folder / 'store'}", "--set", f"execution.output={folder / 'runs'}"]
    subprocess.run([sys.executable, "-m", "flows.cli", "report", str(RECIPE), *places], cwd=ROOT, check=True)
    return ArtifactStore(folder / "store")


@pytest.fixture
def store(finished: ArtifactStore, tmp_path: Path) -> ArtifactStore:
    """A copy of the finished store, to be damaged."""
    shutil.copytree(finished.root, tmp_path / "store")
    return ArtifactStore(tmp_path / "store")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_recipe(load_recipe(RECIPE))


def copying(step: Step, finished: ArtifactStore) -> Step:
    """The step with a stage that copies its files from the finished store in the place of computing them."""

    def build(build: Build[Any]) -> RowCounts:
        manifest = finished.manifest(step.ref)
        for record in manifest.files:
            target = build.folder / record.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(finished.folder(step.ref) / record.path, target)
        return manifest.rows

    return replace(step, stage=replace(step.stage, function=build, resumable=False))


def resting_on(plan: Plan, ref: ArtifactRef) -> list[str]:
    """The labels of the step that makes `ref` and of all that reads it, directly or not, in the order of the plan."""
    refs, labels = {ref}, []
    for step in plan:
        inputs = {source.at("") for source in step.inputs.values() if isinstance(source, ArtifactRef)}
        if step.ref in refs or inputs & refs:
            refs.add(step.ref)
            labels.append(step.label)
    return labels


def flip(path: Path, generator: random.Random) -> int:
    """Flip one bit of a file in place, which has at least one byte; returns which."""
    bit = generator.randrange(path.stat().st_size * 8)
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))
    return bit


def files_of(store: ArtifactStore, ref: ArtifactRef) -> list[Path]:
    """Every file of an artifact that has a bit to flip, its manifest among them."""
    return sorted(path for path in objects_below(store.folder(ref)) if path.stat().st_size)


def made_again(store: ArtifactStore, steps: list[Step]) -> list[str]:
    """Run `steps`; the labels of those that were not found."""
    execution = Execution(store=store.root, device="cpu", threads=1, quarantine_limit=0.9)
    outcomes = {step.label: run_step(step, store, execution, no_progress) for step in steps}
    return [label for label, outcome in outcomes.items() if not outcome.was_cached]


def test_every_flipped_bit_is_found_and_exactly_what_rests_on_it_is_made_again(
    finished: ArtifactStore, store: ArtifactStore, plan: Plan
) -> None:
    generator = random.Random(SEED)
    steps = [copying(step, finished) for step in plan]
    assert made_again(store, steps) == []
    places = [(step.ref, path) for step in plan for path in files_of(store, step.ref)]
    # Every file gets its turn before one gets a second.
    turns = [turn for _ in range(FLIPS // len(places) + 1) for turn in generator.sample(places, len(places))]
    found: Counter[str] = Counter()
    for ref, path in turns[:FLIPS]:
        bit = flip(path, generator)
        where = f"bit {bit} of {path.relative_to(store.root)}"
        with pytest.raises(ArtifactMismatch):
            store.verify(ref)
            pytest.fail(f"{where} was not found")
        assert made_again(store, steps) == resting_on(plan, ref), where
        found["manifest" if path.name == "manifest.json" else ref.stage] += 1
    assert made_again(store, steps) == []
    print(f"found {found.total()} of {FLIPS} in {len(places)} files: {dict(found)}")


def test_after_a_flipped_bit_the_last_stages_compute_what_they_had_computed(store: ArtifactStore, plan: Plan) -> None:
    generator = random.Random(SEED)
    last = [step for step in plan if step.stage.name in ("evaluate", "report")]
    results = {
        step.ref: {record.path: record.sha256 for record in store.manifest(step.ref).files if "scores" in record.path}
        for step in last
    }
    assert all(results.values())
    for _ in range(max(COMPUTED, 1)):
        step = generator.choice(last)
        path = generator.choice(files_of(store, step.ref))
        bit = flip(path, generator)
        assert made_again(store, list(plan)) == resting_on(plan, step.ref), f"bit {bit} of {path}"
        for ref, hashes in results.items():
            there = {record.path: record.sha256 for record in store.verify(ref).files}
            assert hashes.items() <= there.items()
