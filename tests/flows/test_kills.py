"""SIGKILL at random moments of a whole run, and what is left in the end is what an undisturbed run leaves.

`CC_TUNING_KILLS` names another number of kills of a chain, `CC_TUNING_KILL_CHAINS` another number of chains, and
`CC_TUNING_KILL_RECIPE` another recipe than the smallest one. A hundred kills of the smallest recipe:

    CC_TUNING_KILLS=10 CC_TUNING_KILL_CHAINS=10 python -m pytest --slow -s tests/flows/test_kills.py -k server
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from tests.flows.deployed import Server, wait_until
from tests.flows.killing import (
    FINISHED,
    STARTED,
    VICTIMS,
    Kill,
    Undisturbed,
    check_equal,
    finished_work,
    held_locks,
    kill_at,
    left_running,
    log_of,
    start,
    undisturbed_run,
)

KILLS = int(os.environ.get("CC_TUNING_KILLS", "5"))
CHAINS = int(os.environ.get("CC_TUNING_KILL_CHAINS", "1"))
MINUTES_UNTIL_CRASHED = 5

pytestmark = pytest.mark.slow


def test_runs_with_a_temporary_server_killed_at_random_moments_end_as_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = undisturbed_run(_made(tmp_path / "undisturbed"), {})
    for chain in range(CHAINS):
        check_chain(undisturbed, _made(tmp_path / f"chain-{chain}"), {}, seed=20_261_121 + chain)


def test_runs_through_a_server_killed_at_random_moments_end_as_an_undisturbed_one_and_none_seems_to_run(
    server: Server, tmp_path: Path
) -> None:
    server.command("cc-tuning", "deploy", "report", "--crashed-after", "60")
    undisturbed = undisturbed_run(_made(tmp_path / "undisturbed"), server.variables)
    for chain in range(CHAINS):
        check_chain(undisturbed, _made(tmp_path / f"chain-{chain}"), server.variables, seed=20_261_127 + chain)
    took = wait_until(lambda: not states(server).keys() & {"RUNNING", "PENDING"}, 60 * MINUTES_UNTIL_CRASHED)
    print(f"{took:.0f} s after the last run, the server has runs in the states {dict(states(server))}")
    assert states(server)["COMPLETED"] == 1 + CHAINS
    assert states(server).keys() == {"COMPLETED", "CRASHED"}


def check_chain(undisturbed: Undisturbed, folder: Path, variables: Mapping[str, str], seed: int) -> None:
    """Kill the same command `KILLS` times, then let it end: nothing is redone or left, and the results are equal."""
    generator = random.Random(seed)
    moments = sorted(generator.uniform(0, undisturbed.seconds) for _ in range(KILLS))
    finished: dict[str, tuple[int, int]] = {}
    for moment in moments:
        kill = Kill(moment, generator.choice(VICTIMS))
        stage = kill_at(kill, undisturbed, folder, variables)
        print(f"{folder.name}: killed {kill.victim} {moment:.1f} s into {undisturbed.seconds:.1f} s, in {stage}")
        assert not left_running(folder)
        assert not held_locks(folder / "store")
        now = finished_work(folder / "store")
        redone = [name for name, written in finished.items() if now.get(name, written) != written]
        assert not redone, f"finished work was done twice: {redone}"
        finished |= now
    last = start(folder, variables)
    assert last.wait() == 0, log_of(folder)[-4000:]

    log = log_of(folder)
    ended = FINISHED.findall(log)
    assert len(ended) == len(set(ended)), f"a finished stage ran twice: {Counter(ended).most_common(3)}"
    assert len(STARTED.findall(log)) >= len(ended)
    manifests = {name: written for name, written in finished.items() if name.endswith("manifest.json")}
    now = finished_work(folder / "store")
    assert not [name for name, written in manifests.items() if now.get(name) != written]
    assert not left_running(folder)
    assert not held_locks(folder / "store")
    check_equal(undisturbed.folder / "store", folder / "store")


def states(server: Server) -> Counter[str]:
    """How many runs of the whole pipeline by a command the server has in each type of state."""
    by_a_command = {"deployment_id": {"is_null_": True}}
    query = {"flows": {"name": {"any_": ["reproduce"]}}, "flow_runs": by_a_command, "limit": 200}
    return Counter(str(run["state_type"]) for run in server.post("flow_runs/filter", query))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("number", "to_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, False)],
    ids=["Ctrl-C", "SIGTERM", "a terminal that is closed"],
)
def test_a_signal_stops_a_run_with_one_line_and_leaves_no_process(
    tmp_path: Path, number: signal.Signals, to_group: bool
) -> None:
    process = start(tmp_path, {})
    while "train ml-sft: started" not in log_of(tmp_path):
        assert process.poll() is None
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    if to_group:
        os.killpg(process.pid, number)  # as a terminal does, to its whole foreground group
    else:
        process.send_signal(number)
    assert process.wait(300) == 128 + number
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive
    said = " ".join(log_of(tmp_path).split())
    assert "stopped; finished stages and shards are kept" in said
    assert "Traceback" not in said
