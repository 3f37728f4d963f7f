"""Who makes the shards of a job: this process, worker processes that threads watch over, or Ray.

Each runs the same code on the same shards, and a shard's bytes depend on nothing but what the job says and on
`execution.threads`, which is every worker's number of CPU threads: sums on a CPU are rounded in an order that depends
on it. So the number of workers, their order and their kind change no byte. A worker that fails costs the shard it was
at work on: the others finish theirs before the failure is raised, and the next run goes on from there.
"""

import logging
import os
import secrets
import sys
from collections.abc import Callable
from typing import Any

import torch

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.devices import limited_threads, resolve_device
from cc_tuning.runtime.execution import WorkerCount
from cc_tuning.runtime.jobs import Job, ReportT, Say, Work
from cc_tuning.runtime.process_workers import run_in_processes
from cc_tuning.runtime.threads import RunAll

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
        processes = min(_number_of_processes(job, workers), len(job.shards))
        _warn_of_too_many_threads(work, job, processes)
        run_in_processes(work, job, on_report, run_all, processes)


def run_here(work: Work[ReportT], job: Job[Any], on_report: Say[ReportT]) -> None:
    """Make every shard of `job` in this process; raises what the work raises."""
    with limited_threads(job.execution.threads):
        make = work.begin(job)
        for shard in job.shards:
            make(shard, on_report)


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
