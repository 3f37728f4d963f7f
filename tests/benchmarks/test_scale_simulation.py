"""Workers that are killed at every moment of a shard lose nothing and do nothing twice; the check can tell."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.jobs import Job, Shard


def test_killed_workers_lose_nothing_and_do_nothing_twice(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    simulation = benchmark("scale_simulation")
    outcome = simulation.simulate(tmp_path, workers=20, shards=60, chance=0.3, alive=4, seed=1)
    assert outcome.is_sound and outcome.rounds > 1
    assert set(outcome.killed) == set(simulation.MOMENTS), "another seed, so that every moment is met"
    assert outcome.begun == 60 + sum(outcome.killed.values()) - outcome.killed["after the marker"]


def test_the_check_finds_a_lost_a_doubled_and_a_stray_file(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    simulation = benchmark("scale_simulation")
    simulation.simulate(tmp_path, workers=2, shards=4, chance=0.0, alive=2, seed=0)
    shards = tuple(Shard(name=f"part-{index:02d}/{index:08d}.parquet") for index in range(4))
    job = Job[Shard](execution=Execution(), folder=tmp_path, shards=shards)
    job.finished.path(job.shards[0].name).write_bytes(b"another text")
    (tmp_path / "shards" / "part-00" / "stray").touch()
    with (tmp_path / "begun").open("a") as begun:
        begun.write(f"{job.shards[1].name}\n")
    found = simulation.Outcome(workers=2, shards=4, killed=Counter())
    simulation.check(found, job)
    assert (found.lost, found.made_twice, found.strays) == (1, 1, 1)
