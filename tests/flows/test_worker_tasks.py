"""Under Prefect each translation worker is a task run, and a flow that is ended takes its workers with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from data_contracts.store import ArtifactStore
from tests.watching import modified, wait_until

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = "tests/flows/smallest.yaml"
FLOW = """
import sys
from flows.stages import translate
translate(sys.argv[1], tuple(sys.argv[2:]))
"""

pytestmark = pytest.mark.slow


def overrides(folder: Path, workers: int) -> list[str]:
    return [
        f"execution.store={folder / 'store'}", f"execution.translation_workers={workers}",
        "execution.translation_shard_rows=1",
    ]  # fmt: skip


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", FLOW, SMALLEST, *overrides(folder, workers)],
            cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "cc_tuning.translation.worker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:  # it has just ended
            continue
    return found


def marked(folder: Path) -> dict[str, int]:
    """When each decoded shard was marked."""
    markers = modified(folder, "store/translate/*/shards/*/*.segments.parquet.done.json")
    return {"/".join(path.split("/")[-2:]): made for path, made in markers.items()}


def test_a_flow_that_is_ended_ends_its_workers_and_another_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, workers=2)
    wait_until(lambda: marked(tmp_path), process)
    workers = workers_of(process)
    assert len(workers) == 2
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert not alive, "SIGTERM did not reach the workers"
    process.wait(120)
    _, left = psutil.wait_procs(family, timeout=60)
    for server in left:  # Prefect's temporary server outlives a flow that is ended; it holds none of our files
        server.kill()
    before = marked(tmp_path)
    assert before

    assert start(tmp_path, workers=2).wait(600) == 0
    said = (tmp_path / "log").read_text()
    assert {name: made for name, made in marked(tmp_path).items() if name in before} == before, "made again"
    assert all(f"decode shards, worker {worker}' - Finished in state Completed" in said for worker in (0, 1))

    (tmp_path / "one").mkdir()
    assert start(tmp_path / "one", workers=1).wait(600) == 0
    (data,) = plan_recipe(load_recipe(ROOT / SMALLEST, overrides(tmp_path, 2))).data
    records = [
        ArtifactStore(folder / "store").verify(data.translate.ref).files for folder in (tmp_path, tmp_path / "one")
    ]
    assert records[0] == records[1]
