"""A thousand workers on the real shard protocol, some of which are killed: is anything lost or done twice?

Jobs, job files, the workers' loop, atomic writing and markers are the project's own (`cc_tuning/runtime/jobs.py`,
`data_contracts`); fake are the work, 1,024 bytes that follow from the shard's name, and the clock: a shard stands for
`--shard-minutes`, so a worker is killed in it with the probability `1 - exp(-rate minutes / 60)`. A killed worker is a
process that SIGKILL ends, at one of five moments. `--alive` of them are processes at the same time; the others wait.

As in `cc_tuning/runtime/process_workers.py`, a death dismisses the others: each finishes its shard, and then what is
open is planned again.
"""

import argparse
import hashlib
import json
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import BaseModel

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.jobs import WANTED, Job, Shard, make_shards
from data_contracts.files import written_atomically

MOMENTS = ("while writing", "before the name", "before the marker", "half a marker", "after the marker")
LOST = MOMENTS[:4]  # what was made is made again
PAYLOAD_BYTES = 1024


@dataclass
class Outcome:
    """What became of all shards."""

    workers: int
    shards: int
    killed: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    """Times that open shards were planned: once, and once more after each death."""
    begun: int = 0
    lost: int = 0
    """Shards without their bytes or their marker at the end."""
    made_twice: int = 0
    """Shards that were begun again although nothing of them was lost."""
    strays: int = 0
    """Files that are no shard and no marker."""
    worker_ms_a_shard: float = 0.0
    """CPU time of processes: starting, writing, syncing, marking."""
    planning_ms_a_shard: float = 0.0
    """Of looking for what is open, over a shard and a round."""
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Nothing lost, doubled or left over."""
        return self.lost == self.made_twice == self.strays == 0


def payload(name: str) -> bytes:
    """What a shard holds: bytes that follow from its name alone."""
    return hashlib.shake_256(name.encode()).digest(PAYLOAD_BYTES)


def simulate(folder: Path, workers: int, shards: int, chance: float, alive: int, seed: int) -> Outcome:
    """Make `shards` shards by `workers` workers, each of whose shards is its last with the probability `chance`."""
    draw, outcome = random.Random(seed), Outcome(workers, shards)
    names = [f"part-{index % 100:02d}/{index:08d}.parquet" for index in range(shards)]
    job = Job[Shard](execution=Execution(), folder=folder, shards=tuple(Shard(name=name) for name in names))
    started, planning = time.perf_counter(), 0.0
    (folder / "begun").touch()
    while True:
        before = time.process_time()
        job.remove_strays()
        waiting = job.of_open_shards()
        parts = waiting.split(workers)
        planning += time.process_time() - before
        outcome.rounds += 1
        if not parts:
            break
        outcome.killed.update(_round(parts, chance, alive, draw))
    check(outcome, job)
    outcome.worker_ms_a_shard = 1000 * _cpu_seconds_of_children() / outcome.begun
    outcome.planning_ms_a_shard = 1000 * planning / (shards * outcome.rounds)
    outcome.seconds = time.perf_counter() - started
    return outcome


def _round(parts: list[Job[Shard]], chance: float, alive: int, draw: random.Random) -> list[str]:
    """Run the workers until all have ended; after the first death nobody begins another shard. How they were killed."""
    job_files = [part.folder / WANTED / f"worker-{worker}.json" for worker, part in enumerate(parts)]
    fates: dict[int, str] = {}
    killed: list[str] = []
    queue = list(enumerate(parts))
    while queue or fates:
        while queue and len(fates) < alive and not killed:
            worker, part = queue.pop(0)
            with written_atomically(job_files[worker]) as temporary:
                temporary.write_text(part.model_dump_json(), encoding="utf-8")
            doomed = next((name.name for name in part.shards if draw.random() < chance), "")
            moment = draw.choice(MOMENTS) if doomed else ""
            fates[_start(job_files[worker], doomed, moment)] = moment
        if killed:
            queue.clear()
            for job_file in job_files:
                job_file.unlink(missing_ok=True)
        if fates:
            process, status = os.wait()
            moment = fates.pop(process)
            if os.WIFSIGNALED(status):
                killed.append(moment)
            elif status:
                raise SystemExit(f"a worker ended with {status}, expected 0 or SIGKILL")
    return killed


def _start(job_file: Path, doomed: str, moment: str) -> int:
    """The process of a worker that is killed at `moment` of the shard `doomed`."""
    if process := os.fork():
        return process
    try:
        _work(job_file, doomed, moment)
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def _work(job_file: Path, doomed: str, moment: str) -> None:
    try:
        job = Job[Shard].model_validate_json(job_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return  # dismissed before it had loaded
    begun = os.open(job.folder / "begun", os.O_WRONLY | os.O_APPEND)

    def make(shard: Shard, say: Callable[[BaseModel], None]) -> None:
        os.write(begun, f"{shard.name}\n".encode())
        if shard.name == doomed:
            _meet_fate_at(moment)
        with written_atomically(job.finished.path(shard.name)) as temporary:
            temporary.write_bytes(payload(shard.name))
        job.finished.mark_done(shard.name, bytes=PAYLOAD_BYTES)

    make_shards(job, job_file, make, lambda message: None)


def _meet_fate_at(moment: str) -> None:
    """Let this process be killed by SIGKILL when the operating system is asked for the call that `moment` names."""
    replace, calls = os.replace, 0

    def fated_replace(source: str | Path, target: str | Path) -> None:
        nonlocal calls
        calls += 1
        is_data, is_marker = calls == 1, calls == 2
        if (moment == "while writing" and is_data) or (moment == "half a marker" and is_marker):
            os.truncate(source, Path(source).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "before the name" and is_data:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if (moment == "before the marker" and is_data) or (moment == "after the marker" and is_marker):
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = fated_replace  # type: ignore[assignment]


def check(outcome: Outcome, job: Job[Shard]) -> None:
    """Look at every shard and file of a job that has ended, and note in `outcome` what is wrong."""
    finished = job.finished
    for shard in job.shards:
        path = finished.path(shard.name)
        whole = finished.is_done(shard.name) and path.read_bytes() == payload(shard.name)
        outcome.lost += not whole
    begun = (job.folder / "begun").read_text().splitlines()
    outcome.begun = len(begun)
    outcome.made_twice = len(begun) - outcome.shards - sum(outcome.killed[moment] for moment in LOST)
    found = sum(path.is_file() for path in finished.folder.rglob("*"))
    outcome.strays = found - 2 * outcome.shards


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a table; with --json, write it too. Ends with 1 where something was lost or done twice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=1000, help="of all workers")
    parser.add_argument("--shard-minutes", type=float, default=60.0, help="that a shard stands for")
    parser.add_argument("--failures-an-hour", type=float, default=0.05, help="of a worker")
    parser.add_argument("--alive", type=int, default=32, help="processes at the same time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    chance = 1 - math.exp(-options.failures_an_hour * options.shard_minutes / 60)
    with tempfile.TemporaryDirectory() as folder:
        outcome = simulate(Path(folder), options.workers, options.shards, chance, options.alive, options.seed)
    asked = {key: str(value) for key, value in vars(options).items()}
    figures = asdict(outcome) | {"killed": dict(outcome.killed), "options": asked}
    for name, value in figures.items():
        print(f"{name:22} {value:,.3f}" if isinstance(value, float) else f"{name:22} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    sys.exit(0 if outcome.is_sound else 1)


if __name__ == "__main__":
    main()
