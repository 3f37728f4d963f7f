"""A flow whose task computes on a GPU for some seconds, as far as Prefect can see; for two deployments at once."""

import time
from pathlib import Path

from prefect import flow, task

from tasks.gpus import gpu_slot

SECONDS = 20.0


@task(persist_result=False)
def compute(file: Path) -> None:
    """Hold the machine's slot for some seconds and write down from when to when, in seconds since 1970.

    A file beside it, `.began`, is there as soon as the slot is held.
    """
    with gpu_slot():
        began = time.time()
        file.with_suffix(".began").touch()
        time.sleep(SECONDS)
        file.write_text(f"{began} {time.time()}")


@flow(persist_result=False)
def take_turn(file: str) -> None:
    compute(Path(file))
