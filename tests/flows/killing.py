"""What the tests of kills share: start a whole run, kill it at a moment of an undisturbed one, and see what is left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import psutil
from polars.testing import assert_frame_equal

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from data_contracts.locks import is_held
from data_contracts.store import ArtifactStore

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = os.environ.get("CC_TUNING_KILL_RECIPE", "tests/flows/smallest.yaml")
MARK = "CC_TUNING_KILLED_RUN"
"""A variable that every process of a run inherits, by which one that is left over is found."""
RESULTS = ("scores.parquet", "predictions.parquet", "pairs.parquet", "training_rows.parquet")
VICTIMS = ("the flow", "the command", "every process at once")
STARTED_AT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \| (.+): started, fingerprint")
STARTED, FINISHED = re.compile(r"\| (.+): started, fingerprint"), re.compile(r"\| (.+): finished in")


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody kills: where it is, how long it took until its report, and when each stage started."""

    folder: Path
    seconds: float
    starts: list[tuple[float, str]]


@dataclass(frozen=True)
class Kill:
    """A moment in seconds of an undisturbed run, and who is killed then."""

    moment: float
    victim: str


def start(folder: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A run with its store, results and log in `folder`, which leads a session of its own."""
    places = ["--set", f"execution.store={folder / 'store'}", "--set", f"execution.output={folder / 'runs'}"]
    command = [str(Path(sys.executable).with_name("cc-tuning")), "run", RECIPE, *places]
    environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), **variables, MARK: str(folder)}
    with (folder / "log").open("ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment | {"DO_NOT_TRACK": "1"}, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip


def undisturbed_run(folder: Path, variables: Mapping[str, str]) -> Undisturbed:
    began = datetime.now()
    assert start(folder, variables).wait() == 0, log_of(folder)
    starts = [(_seconds_since(began, at), label) for at, label in STARTED_AT.findall(log_of(folder))]
    (finished,) = re.findall(r"(\S+ \S+) \| report: finished in", log_of(folder))
    return Undisturbed(folder, _seconds_since(began, finished), starts)


def kill_at(kill: Kill, undisturbed: Undisturbed, folder: Path, variables: Mapping[str, str]) -> str:
    """Start the run and kill it where an undisturbed one is at that moment; returns the stage that it is in then.

    That is: so long into the same stage. A stage that an earlier attempt finished, or that goes faster this time, is
    killed at its end.
    """
    seen = len(log_of(folder))
    process = start(folder, variables)
    began = time.monotonic()
    before = [entry for entry in undisturbed.starts if entry[0] <= kill.moment]
    start_of_stage, label = before[-1] if before else (0.0, "")
    while label and not re.search(rf"\| {re.escape(label)}: (started|cached|finished)", log_of(folder)[seen:]):
        assert process.poll() is None, f"the run ended before {label}:\n{log_of(folder)[seen:]}"
        time.sleep(0.02)
        began = time.monotonic()
    until = began + kill.moment - start_of_stage
    at_its_end = rf"\| {re.escape(label)}: (cached|finished)"
    while time.monotonic() < until and not (label and re.search(at_its_end, log_of(folder)[seen:])):
        time.sleep(0.02)
    assert process.poll() is None, f"the run ended before it was killed:\n{log_of(folder)[seen:]}"
    _kill(process, kill.victim)
    return label or "its start"


def _kill(process: subprocess.Popen[bytes], victim: str) -> None:
    """SIGKILL one process, as the out-of-memory killer does, or all; those that are left must follow by themselves."""
    leader = psutil.Process(process.pid)
    flow, family = leader.children(), leader.children(recursive=True)
    servers = [child for child in family if "uvicorn" in " ".join(_command_of(child))]
    workers = [child for child in family if child not in servers]
    victims = {"the flow": flow or [leader], "the command": [leader], "every process at once": [leader, *family]}
    for each in victims[victim]:
        each.suspend()  # so that none of them sees another one die
    for each in victims[victim]:
        os.kill(each.pid, signal.SIGKILL)
    process.wait()
    for server in servers:  # Prefect's temporary server outlives a killed flow; it holds none of our files
        if server.is_running():
            server.kill()
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert not alive, f"workers outlive their parent: {alive}"


def left_running(folder: Path) -> list[str]:
    """The commands of processes that a run in `folder` started and that are still there."""
    return [" ".join(_command_of(each)) for each in psutil.process_iter() if _mark_of(each) == str(folder)]


def held_locks(store: Path) -> list[Path]:
    return [lock for lock in sorted(store.rglob("*.lock")) if is_held(lock)]


def finished_work(store: Path) -> dict[str, tuple[int, int]]:
    """When each finished artifact and shard was written, and its inode: both change when it is made again."""
    manifests = [path for path in store.glob("*/*/manifest.json") if not path.parent.name.endswith(".partial")]
    done = [*manifests, *store.glob("*/*.partial/**/*.done.json")]
    return {str(path.relative_to(store)): (path.stat().st_mtime_ns, path.stat().st_ino) for path in done}


def log_of(folder: Path) -> str:
    log = folder / "log"
    return log.read_text(errors="replace") if log.is_file() else ""


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


def _seconds_since(began: datetime, at: str) -> float:
    return (datetime.fromisoformat(at.replace(",", ".")) - began).total_seconds()


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except psutil.Error:
        return None
