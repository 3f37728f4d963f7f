"""Shards on the machines of a Ray cluster: one actor per worker, the next shard to whoever is free.

Ray's own actors, not Prefect's RayTaskRunner: that one is chosen where a flow is declared, before its recipe is read,
and it sends every task's state to Prefect's server, whose temporary one listens on loopback only. An actor also keeps
its model between shards. What passes through Ray is small (a job, shard numbers, counts); shards are files below the
store, which every machine must see under the same path.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from cc_tuning.errors import CcTuningError, ConfigError
from cc_tuning.runtime.execution import WorkerCount
from cc_tuning.runtime.jobs import Job, MakeShard, ReportT, Say, Work
from cc_tuning.runtime.subprocesses import python_path
from cc_tuning.runtime.worker import begin_work, find_work
from data_contracts.errors import DataContractError

LOCAL = "local"


class ShardActor:
    """A worker that keeps what it has loaded from shard to shard."""

    def __init__(self, place: str, job: str) -> None:
        self._work = find_work(place)
        self._job = self._work.job.model_validate_json(job)
        self._make: MakeShard[Any]

    def load(self) -> list[str]:
        """Load what the job needs; not in `__init__`, whose errors Ray turns into text. There is nothing to report."""
        self._make = begin_work(self._work, self._job)
        return []

    def make(self, number: int) -> list[str]:
        """Make the job's shard of this number; its reports as JSON."""
        reports: list[str] = []
        self._make(self._job.shards[number], lambda report: reports.append(report.model_dump_json()))
        return reports


def run_on_ray(work: Work[ReportT], job: Job[Any], on_report: Say[ReportT], workers: WorkerCount) -> None:
    """Make every shard of `job`. When a worker fails, the others finish the shards they are in, and then it is raised.

    Raises:
        ConfigError: the cluster cannot be reached or has too few GPUs.
        work.failure: a worker died.
        CcTuningError, DataContractError, OSError: what a worker raised.
    """
    with _connected(job, workers):
        count = min(_number_of_actors(job, workers), len(job.shards))
        options = {"num_cpus": 1, "num_gpus": _gpus_per_worker(work, job, count)}
        actor_class = ray.remote(ShardActor)
        actors = [actor_class.options(**options).remote(work.place, job.model_dump_json()) for _ in range(count)]
        # The largest first, so that no worker is left alone with a large one in the end.
        waiting = deque(sorted(range(len(job.shards)), key=lambda number: (-job.shards[number].size, number)))
        loading = {actor.load.remote(): actor for actor in actors}
        at_work: dict[ray.ObjectRef, Any] = {}
        failures: list[Exception] = []
        try:
            # Once one has failed, who is still loading has nothing to lose and is not waited for.
            while at_work or (loading and not failures):
                done, _ = ray.wait([*loading, *at_work], timeout=1.0)
                for answer in done:
                    actor = loading.pop(answer) if answer in loading else at_work.pop(answer)
                    try:
                        reports = _got(answer, work)
                    except (CcTuningError, DataContractError, OSError) as failure:
                        failures.append(failure)
                        continue
                    for report in reports:
                        on_report(work.report.model_validate_json(report))
                    if waiting and not failures:
                        at_work[actor.make.remote(waiting.popleft())] = actor
        finally:
            for actor in actors:
                ray.kill(actor)
        if failures:
            raise failures[0]


def _got(answer: "ray.ObjectRef", work: Work[Any]) -> list[str]:
    try:
        reports: list[str] = ray.get(answer)
    except RayTaskError as error:
        # Ray's copy of an exception has its type and text, but not its attributes.
        if isinstance(error.cause, CcTuningError | DataContractError | OSError):
            raise error.cause from error
        raise work.failure(f"a worker of {work.name} on Ray failed: {error}") from error
    except RayActorError as error:
        workers, batch = work.settings
        raise work.failure(
            f"a worker of {work.name} on Ray died: {error}\nFinished shards are kept, run the command again. If memory "
            f"ran out, lower `execution.{workers}` or `execution.{batch}`"
        ) from error
    return reports


@contextmanager
def _connected(job: Job[Any], workers: WorkerCount) -> Iterator[None]:
    """A connection to the cluster; one that was started here, or that was not there before, is closed at the end."""
    if ray.is_initialized():
        yield
        return
    address = job.execution.ray_address
    local: dict[str, Any] = {}
    if address == LOCAL:
        # Without a number Ray takes the cores and GPUs that it finds.
        local = {"include_dashboard": False} | ({} if workers == "one_per_gpu" else {"num_cpus": workers})
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": python_path(), **job.environment}},
            log_to_driver=False,
            logging_level="error",
            **local,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at execution.ray_address '{address}': {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _number_of_actors(job: Job[Any], workers: WorkerCount) -> int:
    if workers != "one_per_gpu":
        return workers
    gpus = 0.0 if job.execution.device == "cpu" else _gpus_of_cluster()
    return max(1, int(gpus / job.execution.ray_gpus_per_worker))


def _gpus_per_worker(work: Work[Any], job: Job[Any], workers: int) -> float:
    there, device, asked = _gpus_of_cluster(), job.execution.device, job.execution.ray_gpus_per_worker
    if device == "cpu" or (device == "auto" and there == 0):
        return 0.0
    if there < asked * workers:
        raise ConfigError(
            f"the Ray cluster has {there:g} GPUs; {workers} {work.name} workers with {asked:g} each need "
            f"{asked * workers:g}; lower execution.{work.settings[0]} or execution.ray_gpus_per_worker"
        )
    return asked


def _gpus_of_cluster() -> float:
    return float(ray.cluster_resources().get("GPU", 0))
