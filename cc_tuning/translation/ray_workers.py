"""Decoding on the machines of a Ray cluster: one actor per worker, the next shard to whoever is free.

Ray's own actors, not Prefect's RayTaskRunner: that one is chosen where a flow is declared, before its recipe is read,
and it sends every task's state to Prefect's server, whose temporary one listens on loopback only. An actor also keeps
the translator between shards. What passes through Ray is small (a job, shard numbers, counts); segments are files below
the store, which every machine must see under the same path.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import torch
from ray.exceptions import RayActorError, RayTaskError
from transformers.utils.logging import disable_progress_bar

from cc_tuning.errors import CcTuningError, ConfigError, TranslationFailed
from cc_tuning.runtime.subprocesses import python_path
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.decoding import Translator
from cc_tuning.translation.job import DecodingJob, OnReport, ShardReport
from cc_tuning.translation.shard_decoding import decode_shard
from data_contracts.errors import DataContractError

LOCAL = "local"


class DecodingActor:
    """A worker that keeps its translator from shard to shard."""

    def __init__(self, job: str) -> None:
        self._job = DecodingJob.model_validate_json(job)
        self._translator: Translator | None = None

    def decode(self, number: int) -> str:
        """Decode the job's shard of this number; its report as JSON."""
        if self._translator is None:  # not in __init__, whose errors Ray turns into text
            disable_progress_bar()
            torch.set_num_threads(self._job.execution.threads)
            self._translator = load_translator(self._job.translator, self._job.config, self._job.execution)
        return decode_shard(self._job.shards[number], self._translator, self._job).model_dump_json()


def decode_on_ray(job: DecodingJob, on_report: OnReport) -> None:
    """Decode every shard of `job`, with a report for each; the first worker that fails ends the others.

    Raises:
        ConfigError: the cluster cannot be reached or has too few GPUs.
        TranslationFailed: a worker died.
        CcTuningError, DataContractError, OSError: what a worker raised.
    """
    workers = min(job.execution.translation_workers, len(job.shards))
    with _connected(job, workers):
        gpus = _gpus_per_worker(job, workers)
        actor_class = ray.remote(DecodingActor)
        actors = [actor_class.options(num_cpus=1, num_gpus=gpus).remote(job.model_dump_json()) for _ in range(workers)]
        # The largest first, so that no worker is left alone with a large one in the end.
        waiting = deque(sorted(range(len(job.shards)), key=lambda number: (-job.shards[number].characters, number)))
        running = {actor.decode.remote(waiting.popleft()): actor for actor in actors}
        try:
            while running:
                done, _ = ray.wait(list(running), timeout=1.0)
                for answer in done:
                    actor = running.pop(answer)
                    on_report(ShardReport.model_validate_json(_got(answer)))
                    if waiting:
                        running[actor.decode.remote(waiting.popleft())] = actor
        finally:
            for actor in actors:
                ray.kill(actor)


def _got(answer: "ray.ObjectRef") -> str:
    try:
        report: str = ray.get(answer)
    except RayTaskError as error:
        # Ray's copy of an exception has its type and text, but not its attributes.
        if isinstance(error.cause, CcTuningError | DataContractError | OSError):
            raise error.cause from error
        raise TranslationFailed(f"a translation worker on Ray failed: {error}") from error
    except RayActorError as error:
        raise TranslationFailed(
            f"a translation worker on Ray died: {error}\nFinished shards are kept, run the command again. If memory "
            "ran out, lower `execution.translation_workers` or `execution.translation_batch_tokens`"
        ) from error
    return report


@contextmanager
def _connected(job: DecodingJob, workers: int) -> Iterator[None]:
    """A connection to the cluster; one that was started here, or that was not there before, is closed at the end."""
    if ray.is_initialized():
        yield
        return
    address = job.execution.ray_address
    offline = {"HF_HUB_OFFLINE": "1"} if job.translator.is_local else {}
    local = {"num_cpus": workers, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": python_path(), **offline}},
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


def _gpus_per_worker(job: DecodingJob, workers: int) -> float:
    there = float(ray.cluster_resources().get("GPU", 0))
    device, asked = job.execution.device, job.execution.ray_gpus_per_worker
    if device == "cpu" or (device == "auto" and there == 0):
        return 0.0
    if there < asked * workers:
        raise ConfigError(
            f"the Ray cluster has {there:g} GPUs; {workers} translation workers with {asked:g} each need "
            f"{asked * workers:g}; lower execution.translation_workers or execution.ray_gpus_per_worker"
        )
    return asked
