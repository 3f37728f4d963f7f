"""A worker process: `python -m cc_tuning.runtime.worker PLACE JOB.json` loads what the job needs and makes its shards.

PLACE is that of a `Work`. On stdout the worker says which shard it begins (ShardBegun) and its reports, one line of
JSON each, and at worst a last line that says what went wrong (WorkerFailure); on stderr everything else. It takes a
shard only while JOB.json is there.
"""

import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from transformers.utils.logging import disable_progress_bar

from cc_tuning.errors import CcTuningError
from cc_tuning.runtime.jobs import Job, MakeShard, Work, WorkerFailure, make_shards
from data_contracts.errors import DataContractError


def find_work(place: str) -> Work[Any]:
    """The kind of work at `package.module:NAME`."""
    module, _, name = place.partition(":")
    work: Work[Any] = getattr(import_module(module), name)
    return work


def begin_work(work: Work[Any], job: Job[Any]) -> MakeShard[Any]:
    """Load what `job` needs, in a process that does nothing else."""
    disable_progress_bar()  # stderr is kept for what went wrong
    torch.set_num_threads(job.execution.threads)
    return work.begin(job)


def main(place: str, job_file: Path) -> None:
    """Make the shards of the job in `job_file`, until all are made or the file is deleted."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    work = find_work(place)
    job = work.job.model_validate_json(job_file.read_text(encoding="utf-8"))
    try:
        make = begin_work(work, job)
        make_shards(job, job_file, make, _say)
    except (CcTuningError, DataContractError, OSError) as error:
        _say(WorkerFailure.of(error))
        raise


def _say(message: BaseModel) -> None:
    sys.stdout.write(message.model_dump_json() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
