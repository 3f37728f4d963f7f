"""A worker ends with its parent, whatever ends the parent, and says why it failed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cc_tuning.errors import EvaluationFailed, WorkerStopped
from cc_tuning.runtime.subprocesses import progress_lines, run_worker

# A worker with a child of its own (as torchrun has); it writes both process ids, then sleeps.
FAMILY = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
time.sleep(3600)
"""
PARENT = """
import sys
from cc_tuning.errors import EvaluationFailed
from cc_tuning.runtime.subprocesses import run_worker
run_worker([sys.executable, "-c", sys.argv[1], sys.argv[2]], name="sleeper", failure=EvaluationFailed, grace_seconds=5)
"""


def _run(code: str, *arguments: str, **options: object) -> None:
    run_worker([sys.executable, "-c", code, *arguments], name="worker", failure=EvaluationFailed, **options)


def _assert_soon(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.02)


def _family(path: Path) -> list[int]:
    _assert_soon(lambda: path.exists() and len(path.read_text().split()) == 2)
    return [int(part) for part in path.read_text().split()]


def _is_gone(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_stdout_lines_arrive_and_progress_lines_become_progress() -> None:
    told: list[tuple[int | str, ...]] = []
    _run(
        "from cc_tuning.runtime.subprocesses import tell_progress\n"
        "print('hello')\ntell_progress(3, 7, 'items', '2 GB')",
        on_line=progress_lines(lambda *call: told.append(call)),
    )
    assert told == [(3, 7, "items", "2 GB")]


def test_failure_shows_the_code_and_the_last_words() -> None:
    with pytest.raises(EvaluationFailed, match=r"(?s)ended with code 3.*out of luck"):
        _run("import sys; sys.stderr.write('out of luck\\n'); sys.exit(3)")


def test_killed_worker_is_named_by_its_signal() -> None:
    with pytest.raises(EvaluationFailed, match="killed by signal SIGKILL"):
        _run("import os; os.kill(os.getpid(), 9)")


def test_a_worker_that_leaves_a_child_behind_has_it_ended(tmp_path: Path) -> None:
    _run(FAMILY.removesuffix("time.sleep(3600)\n"), str(tmp_path / "ids"))
    _assert_soon(lambda: all(_is_gone(process_id) for process_id in _family(tmp_path / "ids")))


def test_a_worker_ends_when_another_thread_says_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    setter = threading.Thread(target=lambda: (_family(tmp_path / "ids"), stop.set()))
    setter.start()
    with pytest.raises(WorkerStopped):
        _run(FAMILY, str(tmp_path / "ids"), stop=stop, grace_seconds=5)
    setter.join()
    _assert_soon(lambda: all(_is_gone(process_id) for process_id in _family(tmp_path / "ids")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_worker_ends_with_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, FAMILY, str(tmp_path / "ids")],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
    )
    worker, child = _family(tmp_path / "ids")
    parent.send_signal(number)
    parent.wait(timeout=120)
    _assert_soon(lambda: _is_gone(worker))
    if number == signal.SIGKILL:
        os.kill(child, signal.SIGKILL)  # the kernel tells the worker only; a worker with children must tell them
    else:
        _assert_soon(lambda: _is_gone(child))


def test_workers_run_from_a_thread(tmp_path: Path) -> None:
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
    thread = threading.Thread(target=_run, args=(code, str(tmp_path / "done")))
    thread.start()
    thread.join(timeout=120)
    assert (tmp_path / "done").exists()
