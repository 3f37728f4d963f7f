"""SIGKILL at random moments of a whole run, and what is left in the end is what an undisturbed run leaves.

`CC_TUNING_KILL_RECIPE` names another recipe than the smallest one, `CC_TUNING_KILLS` another number of kills.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from data_contracts.store import ArtifactStore

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = os.environ.get("CC_TUNING_KILL_RECIPE", "tests/flows/smallest.yaml")
KILLS = int(os.environ.get("CC_TUNING_KILLS", "10"))
RESULTS = ("scores.parquet", "predictions.parquet", "pairs.parquet", "training_rows.parquet")
STARTED_AT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \| (.+): started, fingerprint")
STARTED, FINISHED = re.compile(r"\| (.+): started, fingerprint"), re.compile(r"\| (.+): finished in")

pytestmark = pytest.mark.slow


def start(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    places = ["--set", f"execution.store={folder / 'store'}", "--set", f"execution.output={folder / 'runs'}"]
    command = [str(Path(sys.executable).with_name("cc-tuning")), "run", RECIPE, *places]
    environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the flow itself, as the out-of-memory killer does; its workers must follow it by themselves."""
    family = psutil.Process(process.pid).children(recursive=True)
    flow = psutil.Process(process.pid).children()  # the command waits for the process that runs the flow
    servers = [child for child in family if "uvicorn" in " ".join(command_of(child))]
    for victim in flow or [process]:
        os.kill(victim.pid, signal.SIGKILL)
    process.wait()
    for server in servers:  # Prefect's temporary server outlives a killed flow; it holds none of our files
        server.kill()
    _, alive = psutil.wait_procs([child for child in family if child not in servers], timeout=120)
    assert not alive, f"workers outlive their parent: {alive}"


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def shard_times(store: Path) -> dict[tuple[str, str], int]:
    """When each finished shard was marked, by its fingerprint and name."""
    markers = store.glob("*/*.partial/**/*.done.json")
    return {(path.relative_to(store).parts[1], path.name): path.stat().st_mtime_ns for path in markers}


def stage_starts(log: Path, began: datetime) -> list[tuple[float, str]]:
    """When each stage started, in seconds after the run began, and its label; a log has milliseconds."""
    lines = STARTED_AT.findall(log.read_text(errors="replace"))
    return [((datetime.fromisoformat(at.replace(",", ".")) - began).total_seconds(), label) for at, label in lines]


def kill_at(moment: float, starts: list[tuple[float, str]], folder: Path) -> None:
    """Start the run and kill it where an undisturbed one is after `moment` seconds: so long into the same stage."""
    seen = log_of(folder)
    process = start(folder, folder / "log")
    began = time.monotonic()
    start_of_stage, label = max((entry for entry in starts if entry[0] <= moment), default=(0.0, ""))
    while label and not re.search(rf"\| {re.escape(label)}: (started|cached|finished)", log_of(folder)[len(seen) :]):
        assert process.poll() is None, f"the run ended before {label}"
        time.sleep(0.02)
        began = time.monotonic()
    until = began + moment - start_of_stage
    # A stage that goes faster this time, or that an earlier attempt finished, is killed at its end.
    while time.monotonic() < until and not re.search(
        rf"\| {re.escape(label)}: (cached|finished)", log_of(folder)[len(seen) :]
    ):
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it was killed"
    kill(process)


def log_of(folder: Path) -> str:
    log = folder / "log"
    return log.read_text(errors="replace") if log.is_file() else ""


def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    began = datetime.now()
    assert start(undisturbed, undisturbed / "log").wait() == 0
    whole_run = (datetime.now() - began).total_seconds()
    starts = stage_starts(undisturbed / "log", began)

    generator = random.Random(20_261_121)
    marked: dict[tuple[str, str], int] = {}
    for moment in sorted(generator.uniform(0, starts[-1][0]) for _ in range(KILLS)):
        kill_at(moment, starts, killed)
        print(f"killed {moment:.0f} s into {whole_run:.0f} s")
        now = shard_times(killed / "store")
        redone = [name for name, made in marked.items() if name in now and now[name] != made]
        assert not redone, f"finished shards ran twice: {redone}"
        marked |= now
    assert start(killed, killed / "log").wait() == 0

    log = log_of(killed)
    finished = FINISHED.findall(log)
    assert len(finished) == len(set(finished)), f"a finished stage ran twice: {finished}"
    assert len(STARTED.findall(log)) > len(finished), "no kill fell into a stage"
    check_equal(undisturbed / "store", killed / "store")


@pytest.mark.parametrize(
    ("number", "to_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, False)],
    ids=["Ctrl-C", "SIGTERM", "a terminal that is closed"],
)
def test_a_signal_stops_a_run_with_one_line_and_leaves_no_process(
    tmp_path: Path, number: signal.Signals, to_group: bool
) -> None:
    process = start(tmp_path, tmp_path / "log")
    while "train ml-sft: started" not in (tmp_path / "log").read_text(errors="replace"):
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
    said = " ".join((tmp_path / "log").read_text(errors="replace").split())
    assert "stopped; finished stages and shards are kept" in said
    assert "Traceback" not in said


def check_equal(one: Path, other: Path) -> None:
    """The same fingerprints, the same results, the same weights."""
    stores = ArtifactStore(one), ArtifactStore(other)
    for step in plan_recipe(load_recipe(ROOT / RECIPE)):
        manifests = [store.verify(step.ref) for store in stores]
        hashes = [{record.path: record.sha256 for record in manifest.files} for manifest in manifests]
        for name, sha256 in hashes[0].items():
            if name.endswith(".safetensors"):
                assert hashes[1][name] == sha256, f"{step.label}: other weights in {name}"
            elif name in RESULTS:
                frames = [pl.read_parquet(store.folder(step.ref) / name) for store in stores]
                assert_frame_equal(*frames)
