"""SIGKILL of the stage at twenty random moments, with one worker and with several: nothing lost, nothing done twice."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from translation_runs import SEGMENTS, files_of, needs_ray, rows_with_own_segments, translate

from cc_tuning.translation.stage import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ParallelPair

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("CC_TUNING_KILLS", "20"))
ROW_COUNT = 400
SLOWLY = {"translation_batch_tokens": 1}
"""A segment at a time, so that the kills come before the end."""
RUN = textwrap.dedent(
    """
    import json, sys
    from pathlib import Path
    sys.path[:0] = [sys.argv[1], sys.argv[2]]
    from translation_runs import rows_with_own_segments, translate
    execution = json.loads(sys.argv[6])
    translate(Path(sys.argv[3]), rows_with_own_segments(int(sys.argv[5])), Path(sys.argv[4]), 1, **execution)
    """
)


def start(folder: Path, model: Path, execution: dict[str, object]) -> subprocess.Popen[bytes]:
    arguments = [str(ROOT), str(Path(__file__).parent), str(folder), str(model), str(ROW_COUNT)]
    arguments.append(json.dumps(SLOWLY | execution))
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def marked(folder: Path) -> dict[str, int]:
    """When each finished shard was marked."""
    markers = (folder / "store").rglob(f"shards/*/{SEGMENTS}.done.json")
    return {f"{path.parent.name}/{path.name}": path.stat().st_mtime_ns for path in markers}


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the stage alone; what decodes for it must follow by itself."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Two small services of a local Ray end by themselves within minutes; they hold no file of ours.
    decoding = [child for child in family if child.is_running() and not is_service(child)]
    _, alive = psutil.wait_procs(decoding, timeout=60)
    assert not alive, f"workers outlive their parent: {alive}"


def is_service(process: psutil.Process) -> bool:
    try:
        return any(name in " ".join(process.cmdline()) for name in ("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
    except psutil.Error:
        return True  # it has just ended


@pytest.mark.parametrize(
    "execution",
    [
        pytest.param({}, id="one"),
        pytest.param({"translation_workers": 2}, id="two-processes"),
        pytest.param({"translation_workers": 2, "task_runner": "ray"}, id="ray", marks=needs_ray),
    ],
)
def test_killed_at_random_moments_it_ends_as_an_undisturbed_run(
    execution: dict[str, object], tmp_path: Path, tiny_nllb_folder: Path
) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    generator = random.Random(20_261_121)
    before: dict[str, int] = {}
    kills_while_decoding = 0
    for _ in range(KILLS):
        process = start(killed, tiny_nllb_folder, execution)
        # Some kills fall into loading and planning, most into decoding, at any moment between two shards.
        new = generator.choice([0, 1, 1, 2, 3])
        latest = time.monotonic() + (600 if new else generator.uniform(0, 4))
        while time.monotonic() < latest and len(marked(killed)) < len(before) + (new or 3):
            assert process.poll() is None, "the run ended before it was killed"
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.02))
        kill(process)
        now = marked(killed)
        kills_while_decoding += len(now) > len(before)
        assert {name: made for name, made in now.items() if name in before} == before, "a finished shard was made again"
        before = now
    assert kills_while_decoding >= KILLS // 2
    assert len(before) < ROW_COUNT * 3 // 2, "every shard was finished before the last kill"
    assert start(killed, tiny_nllb_folder, execution).wait(600) == 0
    assert {name: made for name, made in marked(killed).items() if name in before} == before

    _, undisturbed = translate(tmp_path / "other", rows_with_own_segments(ROW_COUNT), tiny_nllb_folder, 1, **SLOWLY)
    (artifact,) = (path.parent for path in (killed / "store" / "translate").glob(f"*/{PAIRS}"))
    assert files_of(artifact) == files_of(undisturbed)
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    assert pairs.height == pairs["pair_id"].n_unique() == ROW_COUNT * 3 // 2
