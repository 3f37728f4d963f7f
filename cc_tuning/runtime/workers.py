"""Who makes the shards of a job: this process, worker processes that threads watch over, or Ray.

Each runs the same code on the same shards, and a shard's bytes depend on nothing but what the job says and on
`execution.threads`, which is every worker's number of CPU threads: sums on a CPU are rounded in an order that depends
on it. So the number of workers, their order and their kind change no byte. The first worker that fails ends the others;
what they had finished stays, and the next run goes on from there.
"""

import json
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from cc_tuning.errors import ConfigError, WorkerStopped
from cc_tuning.runtime.devices import limited_threads, resolve_device, visible_device_environment
from cc_tuning.runtime.execution import WorkerCount
from cc_tuning.runtime.jobs import WANTED, Job, ReportT, Say, Work, WorkerFailure
from cc_tuning.runtime.subprocesses import run_worker
from cc_tuning.runtime.threads import RunAll
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)


def run_job(work: Work[ReportT], job: Job[Any], on_report: Say[ReportT], run_all: RunAll, workers: WorkerCount) -> None:
    """Make every shard of `job` in worker processes, here or on Ray as `job.execution.task_runner` says.

    Raises:
        work.failure: a worker died; the message names it.
        ConfigError: there is no such device, or Ray is not installed or too small.
        CcTuningError, DataContractError, OSError: what a worker raised, or `on_report`.
    """
    if job.execution.task_runner == "ray":
        _ray_runner(job.execution.ray_address)(work, job, on_report, workers)
    else:
        run_in_processes(work, job, on_report, run_all, _number_of_processes(job, workers))


def run_here(work: Work[ReportT], job: Job[Any], on_report: Say[ReportT]) -> None:
    """Make every shard of `job` in this process; raises what the work raises."""
    with limited_threads(job.execution.threads):
        make = work.begin(job)
        for shard in job.shards:
            make(shard, on_report)


def run_in_processes(
    work: Work[ReportT], job: Job[Any], on_report: Say[ReportT], run_all: RunAll, workers: int
) -> None:
    """Make the shards in worker processes, one GPU each where there are GPUs; a thread of `run_all` watches each."""
    parts = job.split(workers)
    _warn_of_too_many_threads(work, job, len(parts))
    stop, watch = threading.Event(), threading.Condition()
    watching: set[int] = set()

    def supervise(worker: int) -> None:
        with watch:
            if stop.is_set():
                return
            watching.add(worker)
        try:
            _run_worker(work, parts[worker], worker, on_report, stop)
        except WorkerStopped:
            pass  # the one that failed says why
        except BaseException:
            stop.set()
            raise
        finally:
            with watch:
                watching.remove(worker)
                watch.notify()

    try:
        run_all(supervise, len(parts))
    finally:
        # Also on Ctrl-C: no worker is left when this returns.
        stop.set()
        with watch:
            watch.wait_for(lambda: not watching)


def _run_worker(
    work: Work[ReportT], part: Job[Any], worker: int, on_report: Say[ReportT], stop: threading.Event
) -> None:
    name = f"{work.name} worker {worker}"
    job_file = part.folder / WANTED / f"worker-{worker}.json"
    with written_atomically(job_file) as temporary:
        temporary.write_text(part.model_dump_json(indent=2), encoding="utf-8")
    failures: list[Exception] = []

    def on_line(line: str) -> None:
        message = _parsed(line, work.report)
        if message is None:
            logger.debug("%s: %s", name, line)
        elif isinstance(message, WorkerFailure):
            failures.append(message.as_error(work.failure))
        else:
            try:
                on_report(message)
            except Exception as error:  # raised below, in the thread that watches over the worker
                failures.append(error)
                stop.set()

    try:
        run_worker(
            [sys.executable, "-m", "cc_tuning.runtime.worker", work.place, str(job_file)],
            name=name,
            failure=work.failure,
            on_line=on_line,
            environment=visible_device_environment(part.execution.device, worker) | part.environment,
            stop=stop,
        )
    except (work.failure, WorkerStopped) as error:
        if failures:
            raise failures[0] from error
        raise
    if failures:
        raise failures[0]


def _parsed(line: str, report: type[ReportT]) -> ReportT | WorkerFailure | None:
    kinds: tuple[type[BaseModel], ...] = (report, WorkerFailure)
    with suppress(ValueError):  # anything else that a library prints
        message = json.loads(line)
        for kind in kinds:
            with suppress(ValidationError):
                return kind.model_validate(message)  # type: ignore[return-value]
    return None


def _number_of_processes(job: Job[Any], workers: WorkerCount) -> int:
    if workers != "one_per_gpu":
        return workers
    return torch.cuda.device_count() if resolve_device(job.execution.device).type == "cuda" else 1


def _warn_of_too_many_threads(work: Work[Any], job: Job[Any], workers: int) -> None:
    cores, threads = os.cpu_count() or 1, job.execution.threads
    if workers > 1 and resolve_device(job.execution.device).type == "cpu" and threads * workers > cores:
        logger.warning(
            "%s: %d workers with %d threads each share %d cores and wait for one another; set execution.threads to %d",
            work.name, workers, threads, cores, max(1, cores // workers),
        )  # fmt: skip


def _ray_runner(address: str) -> Callable[[Work[Any], Job[Any], Say[Any], WorkerCount], None]:
    if address == "local" and "ray" not in sys.modules:
        # A Ray that is started here listens on every interface and cannot be told otherwise: without this token it
        # talks to nobody. It is read when Ray is imported.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from cc_tuning.runtime.ray_workers import run_on_ray  # the `ray` extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise ConfigError(
            "execution.task_runner is 'ray' and Ray is not installed; install it with `pip install 'cc-tuning[ray]'`, "
            "or set execution.task_runner to 'threads'"
        ) from error
    return run_on_ray
