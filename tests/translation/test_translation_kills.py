"""SIGKILL of the stage at twenty random moments, with one worker and with several: nothing lost, nothing done twice.

When the next kill falls is drawn from the shards that are left, so that some are left after the last one, however fast
the machine is and however late a look at it comes.
"""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Collection
from pathlib import Path

import psutil
import pytest
from translation_runs import SEGMENTS, files_of, needs_ray, rows_with_own_segments, translate

from cc_tuning.runtime.jobs import WANTED
from cc_tuning.translation.job import DecodingJob, WantedSegment
from data_contracts.layout import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ParallelPair
from tests.watching import modified

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("CC_TUNING_KILLS", "20"))
ROW_COUNT = 400
SHARD_COUNT = ROW_COUNT * 3 // 2
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
    markers = modified(folder, f"store/translate/*/shards/*/{SEGMENTS}.done.json")
    return {"/".join(path.split("/")[-2:]).removesuffix(".done.json"): made for path, made in markers.items()}


def jobs(folder: Path) -> list[Path]:
    """What each worker process was told."""
    return sorted(folder.glob(f"store/translate/*/{WANTED}/worker-*.json"))


def queues(folder: Path, is_on_ray: bool) -> list[list[str]]:
    """The shards in the order in which they are taken: a queue for each worker, or on Ray one for all."""
    if found := jobs(folder):
        return [[shard.name for shard in DecodingJob.model_validate_json(path.read_text()).shards] for path in found]
    characters = {
        f"{path.parent.name}/{path.name}": sum(map(len, read_parquet(path, WantedSegment)["source"]))
        for path in folder.glob(f"store/translate/*/{WANTED}/*/*.parquet")
    }
    return [sorted(characters, key=lambda name: (-characters[name] if is_on_ray else 0, name))]


def overtaken(queue: list[str], finished: Collection[str]) -> list[str]:
    """Unfinished shards with a finished one behind them: whoever had taken them was killed at work on them."""
    last = max((place for place, name in enumerate(queue) if name in finished), default=0)
    return [name for name in queue[:last] if name not in finished]


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


def run_until_killed(
    folder: Path, model: Path, execution: dict[str, object], shards: int, seconds: float, pause: float
) -> None:
    """Kill a run `pause` seconds after so many shards are finished, or after `seconds`, whichever comes first."""
    for job in jobs(folder):
        job.unlink()
    latest = time.monotonic() + seconds
    process = start(folder, model, execution)
    while time.monotonic() < latest and len(marked(folder)) < shards:
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.002)
    time.sleep(pause)
    kill(process)


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
    is_on_ray = "task_runner" in execution
    workers_per_queue = 2 if is_on_ray else 1
    generator = random.Random(20_261_121)
    before: dict[str, int] = {}
    kills_while_decoding, loading_seconds = 0, 2.0
    for kills_to_come in range(KILLS, 0, -1):
        started = time.time_ns()
        if kills_to_come % 5:  # into decoding: so many shards from here, and any moment of the next
            share = (SHARD_COUNT - len(before)) // (kills_to_come + 1)
            shards = len(before) + generator.randint(1, max(share, 1))
            run_until_killed(killed, tiny_nllb_folder, execution, shards, 600, generator.uniform(0, 0.1))
        else:  # into loading and planning
            seconds = generator.uniform(0, loading_seconds)
            run_until_killed(killed, tiny_nllb_folder, execution, SHARD_COUNT, seconds, 0)
        now = marked(killed)
        assert {name: made for name, made in now.items() if name in before} == before, "a finished shard was made again"
        if new := now.keys() - before.keys():
            kills_while_decoding += 1
            loading_seconds = (min(now[name] for name in new) - started) / 1e9
            for queue in queues(killed, is_on_ray):
                begun = overtaken([name for name in queue if name not in before], new)
                assert len(begun) < workers_per_queue, "a worker had begun more than one shard"
        before = now
    assert kills_while_decoding >= KILLS // 2
    assert len(before) < SHARD_COUNT, "every shard was finished before the last kill"
    assert start(killed, tiny_nllb_folder, execution).wait(600) == 0
    assert {name: made for name, made in marked(killed).items() if name in before} == before

    _, undisturbed = translate(tmp_path / "other", rows_with_own_segments(ROW_COUNT), tiny_nllb_folder, 1, **SLOWLY)
    (artifact,) = (path.parent for path in (killed / "store" / "translate").glob(f"*/{PAIRS}"))
    assert files_of(artifact) == files_of(undisturbed)
    pairs = read_parquet(artifact / PAIRS, ParallelPair)
    assert pairs.height == pairs["pair_id"].n_unique() == SHARD_COUNT
    print(f"{kills_while_decoding} of {KILLS} kills while decoding; at the last {len(before)} of {SHARD_COUNT} shards")
