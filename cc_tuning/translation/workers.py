"""Who decodes: this process, worker processes that threads watch over, or Ray.

Each runs the same code on the same shards, and a shard's bytes depend on nothing but its own segments and on
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

from pydantic import ValidationError

from cc_tuning.errors import ConfigError, TranslationFailed, WorkerStopped
from cc_tuning.runtime.devices import limited_threads, resolve_device, visible_device_environment
from cc_tuning.runtime.subprocesses import run_worker
from cc_tuning.runtime.threads import RunAll
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.job import WANTED, DecodingJob, OnReport, ShardReport
from cc_tuning.translation.shard_decoding import decode_shard
from cc_tuning.translation.worker import WorkerFailure
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)

"""`run_all(work, workers)` calls `work(0)` to `work(workers - 1)`, each in a thread, and raises what one raised."""


def decode_job(job: DecodingJob, on_report: OnReport, run_all: RunAll) -> None:
    """Decode every shard of `job` as `job.execution` says, with a report for each.

    Raises:
        TranslationFailed: the translator cannot be loaded, or a worker died.
        ConfigError: there is no such device, or Ray is not installed or too small.
        OSError: a worker could not write.
    """
    if job.execution.task_runner == "ray":
        _ray_runner(job.execution.ray_address)(job, on_report)
    elif job.execution.translation_workers == 1:
        decode_here(job, on_report)
    else:
        decode_in_processes(job, on_report, run_all)


def decode_here(job: DecodingJob, on_report: OnReport) -> None:
    """Decode in this process."""
    with limited_threads(job.execution.threads):
        translator = load_translator(job.translator, job.config, job.execution)
        for shard in job.shards:
            on_report(decode_shard(shard, translator, job))


def decode_in_processes(job: DecodingJob, on_report: OnReport, run_all: RunAll) -> None:
    """Decode in worker processes, one GPU each where there are GPUs; each is watched over by a thread of `run_all`."""
    parts = job.split(job.execution.translation_workers)
    _warn_of_too_many_threads(job, len(parts))
    stop, watch = threading.Event(), threading.Condition()
    watching: set[int] = set()

    def supervise(worker: int) -> None:
        with watch:
            if stop.is_set():
                return
            watching.add(worker)
        try:
            _run_worker(parts[worker], worker, on_report, stop)
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


def _run_worker(part: DecodingJob, worker: int, on_report: OnReport, stop: threading.Event) -> None:
    job_file = part.folder / WANTED / f"worker-{worker}.json"
    with written_atomically(job_file) as temporary:
        temporary.write_text(part.model_dump_json(indent=2), encoding="utf-8")
    failures: list[WorkerFailure] = []

    def on_line(line: str) -> None:
        if (report := _parsed(line)) is None:
            logger.debug("translation worker %d: %s", worker, line)
        elif isinstance(report, WorkerFailure):
            failures.append(report)
        else:
            on_report(report)

    offline = {"HF_HUB_OFFLINE": "1"} if part.translator.is_local else {}
    try:
        run_worker(
            [sys.executable, "-m", "cc_tuning.translation.worker", str(job_file)],
            name=f"translation worker {worker}",
            failure=TranslationFailed,
            on_line=on_line,
            environment=visible_device_environment(part.execution.device, worker) | offline,
            stop=stop,
        )
    except TranslationFailed as error:
        if failures:
            raise failures[0].error from error
        raise


def _parsed(line: str) -> ShardReport | WorkerFailure | None:
    with suppress(ValueError):  # anything else that a library prints
        message = json.loads(line)
        for kind in (ShardReport, WorkerFailure):
            with suppress(ValidationError):
                return kind.model_validate(message)
    return None


def _warn_of_too_many_threads(job: DecodingJob, workers: int) -> None:
    cores, threads = os.cpu_count() or 1, job.execution.threads
    if resolve_device(job.execution.device).type == "cpu" and threads * workers > cores:
        logger.warning(
            "translate: %d workers with %d threads each share %d cores and wait for one another; set "
            "execution.threads to %d", workers, threads, cores, max(1, cores // workers),
        )  # fmt: skip


def _ray_runner(address: str) -> Callable[[DecodingJob, OnReport], None]:
    if address == "local" and "ray" not in sys.modules:
        # A Ray that is started here listens on every interface and cannot be told otherwise: without this token it
        # talks to nobody. It is read when Ray is imported.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from cc_tuning.translation.ray_workers import decode_on_ray  # the `ray` extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise ConfigError(
            "execution.task_runner is 'ray' and Ray is not installed; install it with `pip install 'cc-tuning[ray]'`, "
            "or set execution.task_runner to 'threads'"
        ) from error
    return decode_on_ray
