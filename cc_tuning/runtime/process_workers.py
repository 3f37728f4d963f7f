"""Shards in worker processes of this machine, each watched over by a thread.

A worker that dies costs the shard it was at work on. The others finish theirs, mark them and take no more; one that is
still loading has nothing to lose and is stopped, so what ends all of them while they load is said at once. Only when
none is left is the failure raised. Ctrl-C, SIGTERM, a cancelled flow and a listener that raises stop every worker.

A worker takes a shard only while its job file is there; deleting the file dismisses it. Nothing stays behind that
another run would have to clear away, whenever this process is killed.
"""

import json
import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cc_tuning.errors import WorkerStopped
from cc_tuning.runtime.devices import visible_device_environment
from cc_tuning.runtime.jobs import WANTED, Job, ReportT, Say, ShardBegun, Work, WorkerFailure
from cc_tuning.runtime.subprocesses import run_worker
from cc_tuning.runtime.threads import RunAll
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)


def run_in_processes(
    work: Work[ReportT], job: Job[Any], on_report: Say[ReportT], run_all: RunAll, workers: int
) -> None:
    """Make the shards in worker processes, one GPU each where there are GPUs; a thread of `run_all` watches each.

    Raises:
        work.failure: a worker died; the message names it.
        CcTuningError, DataContractError, OSError: what a worker raised, or `on_report`.
    """
    parts = job.split(workers)
    crew = _Crew([job.folder / WANTED / f"worker-{worker}.json" for worker in range(len(parts))])

    def supervise(worker: int) -> None:
        if not crew.enter(worker):
            return
        try:
            _run_worker(work, parts[worker], worker, on_report, crew)
        except WorkerStopped:
            pass  # the one that failed says why
        except Exception as error:
            crew.leave(worker)
            if others := crew.dismiss():
                said = str(error).partition("\n")[0]
                logger.warning(
                    "%s worker %d failed, %d others finish a shard first: %s", work.name, worker, others, said
                )
            crew.wait()
            raise
        except BaseException:
            crew.stop()
            raise
        finally:
            crew.leave(worker)

    try:
        run_all(supervise, len(parts))
    finally:
        # Also on Ctrl-C: no worker is left when this returns.
        crew.stop()
        crew.wait()


class _Crew:
    """What the threads that watch over the workers of one job know of one another."""

    def __init__(self, job_files: Sequence[Path]) -> None:
        self.job_files = job_files
        self.stops = [threading.Event() for _ in job_files]
        self._changed = threading.Condition()
        self._running: set[int] = set()
        self._have_loaded: set[int] = set()
        self._is_ending = False

    def enter(self, worker: int) -> bool:
        """Whether the worker may start, as none may once another has failed."""
        with self._changed:
            if not self._is_ending:
                self._running.add(worker)
            return not self._is_ending

    def leave(self, worker: int) -> None:
        """The worker's process has ended, or was never started."""
        with self._changed:
            self._running.discard(worker)
            self._changed.notify_all()

    def begin_shard(self, worker: int) -> None:
        """The worker has begun a shard, and so can be dismissed."""
        with self._changed:
            self._have_loaded.add(worker)

    def dismiss(self) -> int:
        """Let who is in a shard finish it and take no other, and stop who is still loading; how many finish one."""
        with self._changed:
            self._is_ending = True
            for worker in self._running:
                if worker in self._have_loaded:
                    self.job_files[worker].unlink(missing_ok=True)
                else:
                    self.stops[worker].set()
            return sum(not self.stops[worker].is_set() for worker in self._running)

    def stop(self) -> None:
        """End every worker, whatever it is at."""
        with self._changed:
            self._is_ending = True
            for stop in self.stops:
                stop.set()

    def wait(self) -> None:
        """Return when no worker runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)


def _run_worker(work: Work[ReportT], part: Job[Any], worker: int, on_report: Say[ReportT], crew: _Crew) -> None:
    name, job_file = f"{work.name} worker {worker}", crew.job_files[worker]
    with written_atomically(job_file) as temporary:
        temporary.write_text(part.model_dump_json(indent=2), encoding="utf-8")
    failures: list[Exception] = []

    def on_line(line: str) -> None:
        message = _parsed(line, work.report)
        if message is None:
            logger.debug("%s: %s", name, line)
        elif isinstance(message, ShardBegun):
            logger.debug("%s begins %s", name, message.begun)
            crew.begin_shard(worker)
        elif isinstance(message, WorkerFailure):
            failures.append(message.as_error(work.failure))
        else:
            try:
                on_report(message)
            except Exception as error:  # raised below, in the thread that watches over the worker
                failures.append(error)
                crew.stop()

    try:
        run_worker(
            [sys.executable, "-m", "cc_tuning.runtime.worker", work.place, str(job_file)],
            name=name,
            failure=work.failure,
            on_line=on_line,
            environment=visible_device_environment(part.execution.device, worker) | part.environment,
            stop=crew.stops[worker],
        )
    except (work.failure, WorkerStopped) as error:
        if failures:
            raise failures[0] from error
        raise
    if failures:
        raise failures[0]


def _parsed(line: str, report: type[ReportT]) -> ReportT | ShardBegun | WorkerFailure | None:
    kinds: tuple[type[BaseModel], ...] = (report, ShardBegun, WorkerFailure)
    with suppress(ValueError):  # anything else that a library prints
        message = json.loads(line)
        for kind in kinds:
            with suppress(ValidationError):
                return kind.model_validate(message)  # type: ignore[return-value]
    return None
