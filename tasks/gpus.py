"""Turns for GPUs: a stage that computes on them holds a slot of a global concurrency limit of Prefect meanwhile.

Two deployments on one machine would otherwise load two models into one GPU, and both fail for lack of memory. A slot is
held by a lease that is renewed while the stage runs, so that a killed run's slot is free again two minutes later; a
limit on a tag, Prefect's other way, has leases of a hundred years. A stage that finds its artifact in the store asks
for none, and where the server has no such limit nobody waits (`cc-tuning deploy` makes it).

GPUs of another machine need a limit of their own: start its worker with `CC_TUNING_GPU_LIMIT=NAME`.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
from prefect.concurrency.sync import concurrency
from prefect.settings import get_current_settings

from cc_tuning.runtime.devices import resolve_device
from cc_tuning.runtime.step import Build, Step
from data_contracts.manifest import RowCounts

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "CC_TUNING_GPU_LIMIT"
DEFAULT_LIMIT = "gpu"
_TAG = "gpu"
_LEASE_SECONDS = 120.0


def in_turn(step: Step) -> Step:
    """The same step, which takes its turn when it is made on a GPU.

    A stage without the tag `gpu` is returned as it is. Nor is there anybody to take turns with on the temporary server
    of a single run.
    """
    stage = step.stage
    if _TAG not in stage.tags or not get_current_settings().api.url:
        return step

    def build(given: Build[Any]) -> RowCounts:
        if resolve_device(given.execution.device).type != "cuda":
            return stage.build(given)
        with gpu_slot():
            return stage.build(given)

    return replace(step, stage=replace(stage, function=build))


@contextmanager
def gpu_slot(lease_seconds: float = _LEASE_SECONDS) -> Iterator[None]:
    """A context that holds a slot of this machine's limit, and waits until there is one.

    A server that is away for a while ends no training: the lease is then taken again, and a slot that cannot be given
    back is free when its lease ends.
    """
    name = os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT
    logger.info("asks for a slot of the limit %r", name)
    is_computed = False
    try:
        with concurrency(name, occupy=1, lease_duration=lease_seconds, raise_on_lease_renewal_failure=False):
            yield
            is_computed = True
    except httpx.HTTPError as error:
        if not is_computed:
            raise
        logger.warning(
            "the slot of the limit %r was not given back, since Prefect's server does not answer (%s); it is free in "
            "at most %.0f seconds", name, error, lease_seconds,
        )  # fmt: skip
