"""Worker processes that never outlive their parent, and that say why they failed.

Training, evaluation and (in another environment) vLLM run in processes of their own: torchrun needs one, vLLM and
Prefect cannot share an interpreter, and a crash or an out-of-memory kill in one must not take the pipeline down.

A worker runs in its own session and process group. Whatever ends the parent ends the worker too:
an exception in the parent (Ctrl-C included) and SIGTERM stop the whole group (TERM, a grace period, KILL);
a parent that is killed outright is covered by the kernel (`PR_SET_PDEATHSIG`), which is set by a small launcher
(`python -m cc_tuning.runtime.subprocesses`) that then becomes the worker: no `preexec_fn`, which is unsafe in
threaded parents.

A worker tells its progress as JSON lines on stdout (`tell_progress`, read back by `progress_lines`); everything else it
says is logged, and its last stderr lines go into the error.
"""

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from types import FrameType
from typing import IO

from cc_tuning.errors import CcTuningError, WorkerStopped
from cc_tuning.runtime.progress import Progress

logger = logging.getLogger(__name__)

LAST_LINES = 30
POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1


def run_worker(
    arguments: Sequence[str],
    *,
    name: str,
    failure: type[CcTuningError],
    on_line: Callable[[str], None] = logger.debug,
    environment: Mapping[str, str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
    stop: threading.Event | None = None,
) -> None:
    """Run a worker to its end; when this returns, the worker succeeded and none of its processes is left.

    `arguments` is the whole command, interpreter included. `on_line` receives each line of stdout (from another
    thread). `environment` is added to this process's variables. Setting `stop` from another thread ends the worker.

    Raises:
        WorkerStopped: `stop` was set before the worker ended.
        failure: the worker ended with another code than 0; the message has the command and its last stderr lines.
    """
    last_lines: deque[str] = deque(maxlen=LAST_LINES)

    def on_error_line(line: str) -> None:
        last_lines.append(line)
        logger.debug("%s: %s", name, line)

    with _sigterm_raises():  # before the worker starts, so that there is no moment at which it could be left behind
        process = subprocess.Popen(
            [sys.executable, "-m", "cc_tuning.runtime.subprocesses", str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **(environment or {}), "PYTHONPATH": python_path(), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        try:
            readers = [_read(process.stdout, on_line), _read(process.stderr, on_error_line)]
            while (code := _poll(process)) is None:
                if stop is not None and stop.is_set():
                    raise WorkerStopped(f"{name}: stopped")
        finally:
            _stop_group(process, grace_seconds)
    for reader in readers:
        reader.join(timeout=5)
    if code != 0:
        raise failure(_failure_message(name, arguments, code, last_lines))


def tell_progress(done: int, total: int, unit: str, detail: str = "") -> None:
    """Called in a worker: one JSON line on stdout for the parent's `progress_lines`."""
    sys.stdout.write(json.dumps({"done": done, "total": total, "unit": unit, "detail": detail}) + "\n")
    sys.stdout.flush()


def progress_lines(progress: Progress) -> Callable[[str], None]:
    """An `on_line` for `run_worker` that forwards `tell_progress` to `progress` and logs every other line."""

    def on_line(line: str) -> None:
        try:
            message = json.loads(line)
            arguments = message["done"], message["total"], message["unit"], message["detail"]
        except (ValueError, TypeError, KeyError):
            logger.debug("worker: %s", line)
            return
        progress(*arguments)

    return on_line


def die_with_parent(parent: int, with_signal: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to send `with_signal` to this process when the thread that started it ends (Linux only).

    `parent` is the process id that should still be our parent: when it died before this call, we end at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), with_signal)


def _poll(process: subprocess.Popen[str]) -> int | None:
    """Wait in short steps, so that an exception raised in this thread (Ctrl-C, a cancelled task) is seen soon."""
    try:
        return process.wait(timeout=POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _read(stream: IO[str] | None, on_line: Callable[[str], None]) -> threading.Thread:
    assert stream is not None

    def read_lines() -> None:
        with stream:
            for line in stream:
                on_line(line.rstrip("\n"))

    # In a copy of this context: whoever listens (an orchestrator's logger) must know on whose behalf the worker speaks.
    reader = threading.Thread(target=copy_context().run, args=(read_lines,), daemon=True)
    reader.start()
    return reader


def _stop_group(process: subprocess.Popen[str], grace_seconds: float) -> None:
    """End every process of the worker's group; the leader gets a grace period when it still runs."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=grace_seconds)
        except subprocess.TimeoutExpired:
            logger.warning("worker %d did not end within %.0f s of SIGTERM: killed", process.pid, grace_seconds)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # nobody left in the group is what we want
        os.killpg(group, number)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """While a worker runs, SIGTERM becomes `SystemExit(143)`, so that `finally` clauses run.

    Only in the main thread (Python allows it nowhere else) and only when nobody has set a handler of their own.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def python_path() -> str:
    """The worker imports the code its parent runs, also from a source tree that is not the working directory."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    if root == sysconfig.get_path("purelib"):
        return inherited  # installed: found anyway, and another interpreter must not see our site-packages
    return os.pathsep.join(part for part in (root, inherited) if part)


def _failure_message(name: str, arguments: Sequence[str], code: int, last_lines: Sequence[str]) -> str:
    ending = f"was killed by signal {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    hint = "\nSIGKILL often means that memory ran out: use a smaller batch size." if code == -signal.SIGKILL else ""
    spoken = "\n  ".join(last_lines) or "(it said nothing)"
    command = " ".join(arguments)
    return f"{name}: the worker process {ending}, expected 0.\nCommand: {command}{hint}\nIts last lines:\n  {spoken}"


def _become(parent: int, arguments: Sequence[str]) -> None:
    """The launcher: tie this process to its parent, then turn into the worker (the tie survives `exec`)."""
    die_with_parent(parent)
    os.execvp(arguments[0], list(arguments))


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
